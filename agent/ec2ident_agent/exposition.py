"""Metrics in the text format that Prometheus's textfile collector reads. Pure.

The format is that of "Exposition formats", version 0.0.4: a line of help and one of the type for each family, then its
samples. A sample that is unknown is absent and never 0: Prometheus tells a series that is absent from a value.
"""

from __future__ import annotations

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GAUGE, COUNTER = "gauge", "counter"


class Family(Value):
    """One metric with its samples: pairs of labels and a value. Without samples it is not written."""

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]


def single(name: str, kind: str, text: str, value: float) -> Family:
    """A metric without labels."""
    return Family(name, kind, text, (({}, value),))


def states(
    labels: Mapping[str, str], label: str, known: Iterable[str], now: str
) -> list[tuple[Mapping[str, str], float]]:
    """A sample for each state that there is: 1 for the present one, 0 for the others."""
    return [({**labels, label: each}, float(each == now)) for each in known]


def exposition(families: Iterable[Family]) -> bytes:
    """The text of these metrics, as UTF-8."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines += [f"# HELP {family.name} {_escaped(family.help)}", f"# TYPE {family.name} {family.kind}"]
            lines += [f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples]
    return "".join(f"{line}\n" for line in lines).encode()


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, *, quote: bool = False) -> str:
    # A name of the kernel's that is not UTF-8 has surrogates (PEP 383).
    text = text.encode("utf-8", "backslashreplace").decode().replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
