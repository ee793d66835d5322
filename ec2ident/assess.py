"""What each fact is worth, and what all of them come to: facts -> level, reason, and why in words.

Firmware is believed when two of its fields agree, for one alone may be chance or a copy. The metadata service is
believed when it gives a token and calls itself EC2ws, until its signed document says more. Nothing here looks at
anything: the facts come in, and the same facts always weigh the same.
"""

from __future__ import annotations

from .firmware import amazon_xen, ec2_uuid, instance_id, instance_type
from .model import Level, Reason
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Callable

    from .model import Fact

    Test = Callable[[str], bool]


class Weight(Value):
    """What facts come to. `firmware` is the level that they reach without the metadata service."""

    level: Level
    reason: Reason
    because: str
    #: Is a higher level neither shown nor ruled out? What could not be read or reached is no "no".
    open: bool
    firmware: Level
    #: Another vendor's firmware, with nothing of Amazon's beside it: there is no point in asking the network.
    vetoed: bool


def _amazon(text: str) -> bool:
    return text == "Amazon EC2"


#: Amazon's own word. One alone is a hint; together with anything else of this table but the environment, a claim.
MARKS: dict[str, Test] = {
    "sys_vendor": _amazon,
    "bios_vendor": _amazon,
    "board_vendor": _amazon,
    "chassis_vendor": _amazon,
    "chassis_asset_tag": _amazon,
    "board_asset_tag": instance_id,
    "bios_version": amazon_xen,
    "product_version": amazon_xen,
    "acpi_oem": lambda text: text == "AMAZON",
}

#: What others have too: one random UUID in 2048, an Amazon card elsewhere. However many, they are a hint; beside a
#: mark they make a claim.
SHARED: dict[str, Test] = {
    "product_uuid": ec2_uuid,
    "product_serial": ec2_uuid,
    "hypervisor_uuid": ec2_uuid,
    "pci_vendor": lambda text: text == "0x1d0f",
}

#: Says nothing alone, many things look like `t3.micro`; beside a mark it agrees.
DETAILS: dict[str, Test] = {"product_name": instance_type}

#: Whoever starts a process chooses its environment: a hint, and never one of the two that make a claim.
WEAK: dict[str, Test] = {"environment": bool}

#: sys_vendor and bios_vendor of EC2; Xen is also others', so it says nothing.
VENDORS = ("Amazon EC2", "Xen")


def _is(*texts: str) -> Test:
    return lambda text: text in texts


def _starts(*texts: str) -> Test:
    return lambda text: text.startswith(texts)


def _ends(text: str) -> Test:
    return lambda found: found.endswith(text)


#: Fields in which other clouds name themselves, even where the vendor is Xen or missing.
OTHERS: tuple[tuple[str, Test, str], ...] = (
    ("product_name", _starts("Alibaba Cloud"), "Alibaba Cloud"),
    ("product_name", _starts("OpenStack "), "OpenStack"),
    ("product_name", _is("Google Compute Engine"), "Google Cloud"),
    ("product_name", _is("3DS Outscale VM"), "Outscale"),
    ("product_name", _starts("Exoscale"), "Exoscale"),
    ("product_name", _starts("CloudStack"), "CloudStack"),
    ("product_name", _starts("SmartDC"), "SmartDC"),
    ("product_name", _is("CloudCIX", "CloudSigma"), "another cloud"),
    ("product_serial", _starts("GoogleCloud-"), "Google Cloud"),
    ("product_serial", _ends(".brightbox.com"), "Brightbox"),
    ("chassis_asset_tag", _ends(".zstack.io"), "ZStack"),
    ("chassis_asset_tag", _starts("OpenStack "), "OpenStack"),
    (
        "chassis_asset_tag",
        _is("OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD", "Samsung Cloud Platform"),
        "OpenStack",
    ),
    ("chassis_asset_tag", _is("7783-7084-3265-9085-8269-3286-77"), "Azure"),
    ("chassis_asset_tag", _is("OracleCloud.com"), "Oracle Cloud"),
    ("sys_vendor", lambda text: text not in VENDORS, "another vendor"),
    ("bios_vendor", lambda text: text not in VENDORS, "another vendor"),
)

#: What the metadata service shows, in detection's own facts.
FAILED = "metadata-service"
DOCUMENT = "identity-document"
SIGNATURE = "signature"
VERIFIED = "verified"
BINDING = "binding-"
AGREES, DIFFERS = "agrees", "differs"

#: Reasons that say: not EC2. All others leave it open.
NO = frozenset(
    {
        *(Reason.NO_EVIDENCE, Reason.OTHER_VENDOR, Reason.OTHER_CLOUD, Reason.NO_ROUTE, Reason.REFUSED, Reason.TIMEOUT),
        *(Reason.NOT_EC2WS, Reason.V1_ONLY, Reason.CAPTIVE_PORTAL, Reason.WRONG_SIGNATURE, Reason.WRONG_DIGEST),
        *(Reason.WRONG_ALGORITHM, Reason.WRONG_KEY, Reason.DOCUMENT_DIFFERS),
    }
)
_SUSPECT = frozenset({Reason.SUSPECT, Reason.WRONG_MACHINE})

#: The reasons for which one more fact may lower a level.
LOWERING = frozenset(
    {*_SUSPECT, Reason.OTHER_VENDOR, Reason.CONTRADICTION, Reason.NOT_BOUND}
    | {reason for reason in NO if reason.value.startswith("wrong-")}
    | {Reason.DOCUMENT_DIFFERS}
)


def weigh(facts: Iterable[Fact], wanted: Level = Level.CLAIM) -> Weight:
    """What these facts come to. `wanted` changes the level in nothing: only whether the reason says why it is as high
    as it is, or why it is not higher.
    """
    found = tuple(facts)
    seen = {one.name: one.value for one in found if one.value is not None}
    firmware, reason, because, vetoed = _firmware(seen)
    level, obstacle = firmware, None
    rungs = ((Level.CLAIM, _service(seen)), (Level.DOCUMENT, seen.get(DOCUMENT)), (Level.PROOF, _verified(seen)))
    for rung, says in rungs:
        if says and rung > level:
            level, reason, because = rung, _WHY[rung], says
    refuted = _false_signature(found, bool(_matching(MARKS, seen)))
    if refuted:
        level, reason, because = refuted
    elif level >= Level.PROOF:
        level, reason, because = _binding(level, reason, because, found)
    obstacle = next((one.unknown for one in found if one.name in (FAILED, SIGNATURE) and one.unknown), None)
    if obstacle and level < wanted and reason not in LOWERING:
        name, _, words = obstacle.partition(": ")
        because = words if level == Level.NONE else f"{because}; {words}"
        reason = Reason(name)
    return Weight(level, reason, because, _open(level, reason, found), firmware, vetoed)


_WHY = {
    Level.CLAIM: Reason.METADATA_SERVICE,
    Level.DOCUMENT: Reason.IDENTITY_DOCUMENT,
    Level.PROOF: Reason.SIGNATURE_VERIFIED,
}


def _matching(table: Mapping[str, Test], seen: Mapping[str, str]) -> dict[str, str]:
    return {name: seen[name] for name, test in table.items() if name in seen and test(seen[name])}


def _firmware(seen: Mapping[str, str]) -> tuple[Level, Reason, str, bool]:
    """Level, reason, words and veto from local facts alone: the rows of the table, the first that fits."""
    marks, shared = _matching(MARKS, seen), _matching(SHARED, seen)
    beside, weak = {**shared, **_matching(DETAILS, seen)}, _matching(WEAK, seen)
    foreign = [f"{name} is {seen[name]!r} ({who})" for name, test, who in OTHERS if name in seen and test(seen[name])]
    others, hints = ", ".join(foreign), {**marks, **shared, **weak}
    rows = (
        (foreign and marks, Level.HINT, Reason.CONTRADICTION, f"{_words(marks)}, but {others}"),
        (foreign, Level.NONE, Reason.OTHER_VENDOR, others),
        (len(marks) > 1, Level.CLAIM, Reason.FIRMWARE, _words(marks)),
        (marks and beside, Level.CLAIM, Reason.FIRMWARE, _words({**marks, **beside})),
        (hints, Level.HINT, Reason.ONE_HINT, f"only {_words(hints)}, as others may have"),
        (True, Level.NONE, Reason.NO_EVIDENCE, "nothing that was looked at speaks for it"),
    )
    _, level, reason, because = next(row for row in rows if row[0])
    return level, reason, because, reason is Reason.OTHER_VENDOR


def _words(matching: Mapping[str, str]) -> str:
    """Each value once: `sys_vendor and bios_vendor are 'Amazon EC2', product_name is 't3.micro'`."""
    names: dict[str, list[str]] = {}
    for name, text in matching.items():
        names.setdefault(text, []).append(name)
    return ", ".join(
        f"{', '.join(same[:-1])} and {same[-1]} are {text!r}" if len(same) > 1 else f"{same[0]} is {text!r}"
        for text, same in names.items()
    )


def _service(seen: Mapping[str, str]) -> str | None:
    if seen.get("imds-token") == "granted" and seen.get("imds-server") == "EC2ws":
        return "the metadata service gives session tokens and calls itself EC2ws"
    return None


def _verified(seen: Mapping[str, str]) -> str | None:
    if seen.get(SIGNATURE) == VERIFIED:
        return f"AWS's signature verifies over the identity document of {seen.get(DOCUMENT, 'an instance')}"
    return None


def _false_signature(facts: Iterable[Fact], marked: bool) -> tuple[Level, Reason, str] | None:
    """A signature that was understood and is wrong: the service lies; or one of both, if firmware says Amazon."""
    for one in facts:
        if one.name == SIGNATURE and one.value not in (None, VERIFIED):
            name, _, words = str(one.value).partition(": ")
            if marked:
                return Level.NONE, Reason.SUSPECT, f"firmware says Amazon EC2, but the signed document fails: {words}"
            return Level.NONE, Reason(name), f"the metadata service's signed document fails: {words}"
    return None


def _binding(level: Level, reason: Reason, because: str, facts: Iterable[Fact]) -> tuple[Level, Reason, str]:
    """Proof, and about this machine: every check that was made agrees, that of the address among them."""
    checks = [one for one in facts if one.name.startswith(BINDING)]
    if not checks:
        return level, reason, because
    differ = [one.source for one in checks if one.value == DIFFERS]
    if differ:
        words = ", ".join(differ)
        return Level.NONE, Reason.WRONG_MACHINE, f"the document verifies, but is another machine's: {words}"
    words = ", ".join(one.source for one in checks if one.value != AGREES)
    if words or not any(one.name == f"{BINDING}address" for one in checks):
        return level, Reason.NOT_BOUND, f"{because}; not tied to this machine: {words or 'no address was compared'}"
    agreed = ", ".join(one.source for one in checks)
    return Level.BOUND, Reason.BOUND_TO_THIS_MACHINE, f"{because}, and it is about this machine: {agreed}"


def _open(level: Level, reason: Reason, facts: tuple[Fact, ...]) -> bool:
    refuted = any(one.name == SIGNATURE and one.value not in (None, VERIFIED) for one in facts)
    if refuted or (level is Level.NONE and reason in (Reason.OTHER_VENDOR, Reason.OTHER_CLOUD)):
        return False
    # Where nobody could look at the firmware, silence of the network says nothing either.
    blind = any(one.name == "firmware" and one.unknown for one in facts)
    return level > Level.NONE or reason not in NO or blind
