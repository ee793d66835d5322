"""The text of metrics, as the parser of Prometheus's own client reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ec2ident_agent.exposition import COUNTER, GAUGE, Family, exposition, single, states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def read(families: Sequence[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What the parser reads: name and labels -> value."""
    found = text_string_to_metric_families(exposition(families).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in found for s in family.samples}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, allow_infinity=False))
def test_any_label_and_value_is_read_back(label: str, value: float) -> None:
    """Quotation marks, backslashes and ends of a line too: a label is a name of the node's owner."""
    assert {("x_items", (("owner", label),)): value} == read(
        [Family("x_items", GAUGE, "Help.", (({"owner": label}, value),))]
    )


def test_a_name_that_is_not_utf_8_is_written_as_an_escape() -> None:
    """The kernel takes any bytes as the name of an interface."""
    (((_, labels), _),) = read([Family("x", GAUGE, "Help.", (({"owner": "eth\udcff"}, 1.0),))]).items()
    assert (("owner", "eth\\udcff"),) == labels


def test_help_and_type_stand_before_the_samples() -> None:
    """The parser takes both from there; a time keeps its fraction, and whole numbers have none."""
    data = exposition(
        [single("x_total", COUNTER, "All \\ of\nthem.", 3), single("x_seconds", GAUGE, "When.", 1e9 + 0.25)]
    )

    assert (
        b"# HELP x_total All \\\\ of\\nthem.\n# TYPE x_total counter\nx_total 3\n"
        b"# HELP x_seconds When.\n# TYPE x_seconds gauge\nx_seconds 1000000000.25\n"
    ) == data
    counter, gauge = text_string_to_metric_families(data.decode())
    assert ("counter", "gauge") == (counter.type, gauge.type)
    assert "All \\ of\nthem." == counter.documentation


def test_what_is_unknown_has_no_sample() -> None:
    """A family without samples is not written, since 0 would be an answer."""
    assert b"" == exposition([Family("x", GAUGE, "Help.", ())])


@pytest.mark.parametrize("now", ["yes", "no", "unknown"])
def test_of_the_states_one_is_1(now: str) -> None:
    """Each state is a series of its own."""
    found = {labels["state"]: value for labels, value in states({}, "state", ("yes", "no", "unknown"), now)}
    assert {"yes": now == "yes", "no": now == "no", "unknown": now == "unknown"} == found
