"""What each fact is worth, and what all of them together show: facts -> level, reason, and why in words.

Firmware is believed when two of its fields agree, because one alone may be chance or a copy. The metadata service is
believed when it gives a token and calls itself EC2ws, until its signed document says more. This module is pure: it
reads nothing, and the same facts always give the same assessment.
"""

from __future__ import annotations

from .firmware import FIELDS, amazon_xen, ec2_uuid, instance_id, instance_type
from .model import Level, Reason
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Callable

    from .model import Fact

    Test = Callable[[str], bool]


class Assessment(Value):
    """What the facts show. `firmware` is the level that they reach without the metadata service."""

    level: Level
    reason: Reason
    because: str
    #: True if a higher level is still possible: what could not be read or reached is not a "no".
    undecided: bool
    firmware: Level
    #: The firmware is another vendor's, with no field of Amazon's: asking the network is pointless.
    foreign_vendor: bool


def _amazon(text: str) -> bool:
    return text == "Amazon EC2"


def _names_amazon(text: str) -> bool:
    return text.lower().startswith("amazon") or text.split(" ")[0] == "AWS"


#: Fields in which Amazon names itself. One alone is a hint; with another field of these three tables it is a claim.
AMAZON_FIELDS: dict[str, Test] = {
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

#: What other machines have too: one random UUID in 2048, an Amazon card elsewhere, an emulated enclave. Any number of
#: them is a hint; with one of Amazon's fields they are a claim.
SHARED: dict[str, Test] = {
    "product_uuid": ec2_uuid,
    "product_serial": ec2_uuid,
    "hypervisor_uuid": ec2_uuid,
    "pci_vendor": lambda text: text == "0x1d0f",
    "nsm_device": bool,
}

#: A weak field of firmware: many texts look like `t3.micro`. Alone it is a hint (gVisor shows this field and no other),
#: and with one of Amazon's fields it agrees.
DETAILS: dict[str, Test] = {"product_name": instance_type}

#: A hint, and never one of the two facts that make a claim: the environment, which the process's parent chooses, and
#: a vendor that begins with Amazon's name in a form that this version does not know.
WEAK: dict[str, Test] = {
    "environment": bool,
    **dict.fromkeys(("sys_vendor", "bios_vendor"), lambda text: _names_amazon(text) and not _amazon(text)),
}

#: sys_vendor and bios_vendor of EC2. Xen is also used elsewhere, so it is neither for nor against.
VENDORS = ("Amazon EC2", "Xen")


def _neutral(text: str) -> bool:
    return text in VENDORS or _names_amazon(text)


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
    ("sys_vendor", lambda text: not _neutral(text), "another vendor"),
    ("bios_vendor", lambda text: not _neutral(text), "another vendor"),
)

#: Names of the facts that detection makes of what the metadata service shows, and some of their values.
FAILED = "metadata-service"
DOCUMENT = "identity-document"
SIGNATURE = "signature"
VERIFIED, REFUTED = "verified", "refuted"
BINDING = "binding-"
AGREES, DIFFERS, INCONCLUSIVE = "agrees", "differs", "inconclusive"
#: The fact that says that firmware could not be read, or was not understood.
FIRMWARE = "firmware"
#: Fields of which any value shows that firmware was read.
_READABLE = frozenset({*FIELDS, "hypervisor_uuid"})

#: The service is not there. That means "no", unless the firmware could not be read.
ABSENT_REASONS = frozenset({Reason.NO_EVIDENCE, Reason.NO_ROUTE, Reason.REFUSED, Reason.TIMEOUT})
#: An unknown server answers. That means "no" only where firmware was read and does not name Amazon: in a container the
#: server may be a proxy that stands before EC2's service.
UNKNOWN_SERVER_REASONS = frozenset({Reason.NOT_EC2WS, Reason.V1_ONLY, Reason.CAPTIVE_PORTAL})
#: What was understood and disagrees: the signed document is false.
REFUTING_REASONS = frozenset(
    {
        *(Reason.WRONG_SIGNATURE, Reason.WRONG_DIGEST, Reason.WRONG_ALGORITHM, Reason.WRONG_KEY),
        *(Reason.DOCUMENT_DIFFERS, Reason.WRONG_MACHINE),
    }
)
#: Reasons that can mean "not EC2". With every other reason the answer is undecided.
NEGATIVE_REASONS = frozenset(
    {*ABSENT_REASONS, *UNKNOWN_SERVER_REASONS, *REFUTING_REASONS, Reason.OTHER_VENDOR, Reason.OTHER_CLOUD}
)

#: The reasons for which one more fact may lower a level.
DEMOTING_REASONS = REFUTING_REASONS | {Reason.SUSPECT, Reason.OTHER_VENDOR, Reason.CONTRADICTION, Reason.NOT_BOUND}


def assess(facts: Iterable[Fact], wanted: Level = Level.CLAIM) -> Assessment:
    """What these facts show. `wanted` does not change the level. It chooses the reason: why the level is as high as it
    is, or, where a higher level was wanted, what prevented it.
    """
    found = tuple(facts)
    seen = {one.name: one.value for one in found if one.value is not None}
    firmware, reason, because, foreign_vendor = _firmware(seen)
    level = firmware
    rungs = ((Level.CLAIM, _service(seen)), (Level.DOCUMENT, seen.get(DOCUMENT)), (Level.PROOF, _verified(seen)))
    for rung, says in rungs:
        if says and rung > level:
            level, reason, because = rung, _WHY[rung], says
    refuted = _false_signature(found, bool(_matching(AMAZON_FIELDS, seen)))
    if refuted:
        level, reason, because = refuted
    elif level >= Level.PROOF:
        level, reason, because = _binding(level, reason, because, found)
    if level < wanted and reason not in DEMOTING_REASONS:
        reason, because = _obstacle(level, reason, because, found)
    undecided = _undecided(level, reason, found, bool(_matching(AMAZON_FIELDS, seen)))
    return Assessment(level, reason, because, undecided, firmware, foreign_vendor)


_WHY = {
    Level.CLAIM: Reason.METADATA_SERVICE,
    Level.DOCUMENT: Reason.IDENTITY_DOCUMENT,
    Level.PROOF: Reason.SIGNATURE_VERIFIED,
}


def _matching(table: Mapping[str, Test], seen: Mapping[str, str]) -> dict[str, str]:
    return {name: seen[name] for name, test in table.items() if name in seen and test(seen[name])}


def _firmware(seen: Mapping[str, str]) -> tuple[Level, Reason, str, bool]:
    """Level, reason, words and foreign vendor from local facts alone: the first row that applies."""
    amazon, shared = _matching(AMAZON_FIELDS, seen), _matching(SHARED, seen)
    details, weak = _matching(DETAILS, seen), _matching(WEAK, seen)
    foreign = [f"{name} is {seen[name]!r} ({who})" for name, test, who in OTHERS if name in seen and test(seen[name])]
    others, hints = ", ".join(foreign), {**amazon, **shared, **details, **weak}
    rows = (
        (foreign and amazon, Level.HINT, Reason.CONTRADICTION, f"{_words(amazon)}, but {others}"),
        (foreign, Level.NONE, Reason.OTHER_VENDOR, others),
        (len(amazon) > 1, Level.CLAIM, Reason.FIRMWARE, _words(amazon)),
        (amazon and (shared or details), Level.CLAIM, Reason.FIRMWARE, _words({**amazon, **shared, **details})),
        (hints, Level.HINT, Reason.ONE_HINT, f"only {_words(hints)}, which other machines may have too"),
        (True, Level.NONE, Reason.NO_EVIDENCE, "no local evidence of EC2 was found"),
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


def _false_signature(facts: Iterable[Fact], amazon: bool) -> tuple[Level, Reason, str] | None:
    """A signed document that was understood and is false: the service lies, or, beside Amazon's firmware, both do."""
    for one in facts:
        if one.name == SIGNATURE and one.value == REFUTED and one.reason is not None:
            if amazon:
                words = f"firmware says Amazon EC2, but the signed document fails: {one.detail}"
                return Level.NONE, Reason.SUSPECT, words
            return Level.NONE, one.reason, f"the metadata service's signed document fails: {one.detail}"
    return None


def _binding(level: Level, reason: Reason, because: str, facts: Iterable[Fact]) -> tuple[Level, Reason, str]:
    """BOUND takes agreement of every comparison that was made, and one of the signed address. A document without an
    address (IPv6-only) takes the signed instance id, and the service's MAC or IPv6 address.
    """
    checks = [one for one in facts if one.name.startswith(BINDING)]
    if not checks:
        return level, reason, because
    differ = [one.detail for one in checks if one.value == DIFFERS]
    if differ:
        words = ", ".join(differ)
        return Level.NONE, Reason.WRONG_MACHINE, f"the document verifies, but is another machine's: {words}"
    missing = ", ".join(one.detail or one.unknown or one.name for one in checks if one.value != AGREES)
    names = {one.name.removeprefix(BINDING) for one in checks}
    if missing or not ("address" in names or ("instance-id" in names and names & {"mac", "ipv6"})):
        return level, Reason.NOT_BOUND, f"{because}; not tied to this machine: {missing or 'no address was compared'}"
    agreed = ", ".join(one.detail for one in checks)
    return Level.BOUND, Reason.BOUND_TO_THIS_MACHINE, f"{because}, and it is about this machine: {agreed}"


def _obstacle(level: Level, reason: Reason, because: str, facts: Iterable[Fact]) -> tuple[Reason, str]:
    """What prevented a higher level: the failure of the service, or a signed item that could not be judged. Where
    neither the firmware nor the service could be understood, that reason outlasts the service's absence.
    """
    for one in facts:
        if one.name in (FAILED, SIGNATURE) and one.unknown and one.reason is not None:
            reason = one.reason
            because = one.unknown if level is Level.NONE else f"{because}; {one.unknown}"
            break
    blind = next((one for one in facts if one.name == FIRMWARE and one.unknown), None)
    if blind is not None and level is Level.NONE and reason in ABSENT_REASONS:
        return blind.reason or reason, f"{because} (firmware: {blind.unknown})"
    return reason, because


def _undecided(level: Level, reason: Reason, facts: tuple[Fact, ...], amazon: bool) -> bool:
    if reason in REFUTING_REASONS or reason is Reason.SUSPECT:
        return False
    if reason in (Reason.OTHER_VENDOR, Reason.OTHER_CLOUD):
        return amazon  # what names itself another cloud outweighs a hint that others share, and no field of Amazon's
    if level > Level.NONE:
        return True
    if reason in UNKNOWN_SERVER_REASONS:
        return not any(one.value is not None and one.name in _READABLE for one in facts)
    # If the firmware could not be read, the absence of the service does not mean "no" either.
    return reason not in NEGATIVE_REASONS or any(one.name == FIRMWARE and one.unknown for one in facts)
