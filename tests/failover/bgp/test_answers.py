"""FRR's answers: as FRR 8.4 gave them, and everything near to that."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ec2ident_agent.failover.bgp.answers import Announcement, BgpSession, advertised, announcement, sessions
from ec2ident_agent.failover.errors import MalformedResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BLOCK, ENDPOINT = "192.168.10.5/32", "10.0.1.11"

#: Shortened, from FRR 8.4.4: `show bgp neighbors json`.
NEIGHBORS = {
    ENDPOINT: {
        "remoteAs": 65000,
        "localAs": 65001,
        "nbrExternalLink": True,
        "bgpState": "Established",
        "addressFamilyInfo": {
            "ipv4Unicast": {
                "incomingUpdatePrefixFilterList": "EC2IDENT-IN",
                "outgoingUpdatePrefixFilterList": "EC2IDENT-OUT",
            }
        },
        "peerBfdInfo": {"type": "single hop", "status": "Up", "lastUpdate": "0:00:00:01"},
    }
}
#: `show bgp ipv4 unicast 192.168.10.5/32 json`.
PATH = {
    "aspath": {"string": "Local", "segments": [], "length": 0},
    "origin": "IGP",
    "metric": 2499102000,
    "valid": True,
    "sourced": True,
    "local": True,
    "bestpath": {"overall": True, "selectionReason": "First path received"},
}
PREFIX = {"prefix": BLOCK, "version": 1, "advertisedTo": {ENDPOINT: {"hostname": "rs"}}, "paths": [PATH]}


def told(**changes: Any) -> Announcement:
    """The announcement, where the one path differs in this."""
    return announcement(json.dumps({**PREFIX, "paths": [{**PATH, **changes}]}), BLOCK)


def test_a_session() -> None:
    """Its numbers, its state, BFD, and the prefix lists of each family."""
    found = sessions(json.dumps(NEIGHBORS))

    filters = (("ipv4", "EC2IDENT-OUT", "EC2IDENT-IN"),)
    assert found == (BgpSession(ENDPOINT, 65000, 65001, "Established", "Up", filters),)
    assert found[0].established


@pytest.mark.parametrize("text", ["{}", '{"bgpNoSuchInstance": true}', '{"warning": "No BGP neighbors found"}'])
def test_no_session(text: str) -> None:
    """A daemon without a configuration has none."""
    assert sessions(text) == ()


def test_the_announcement_of_the_holder() -> None:
    """The metric of its take-over, the shortest path, and who was told."""
    found = told()

    assert found == Announcement(BLOCK, True, (ENDPOINT,), 2499102000, 0)
    assert found.holds


def test_a_longer_path_is_not_the_holders() -> None:
    """The node that stands by has its own number in the path."""
    found = told(aspath={"string": "65001 65001", "length": 2})

    assert found.valid
    assert not found.holds


@pytest.mark.parametrize("changes", [{"valid": False}, {"sourced": False}, {"bestpath": {}}])
def test_what_is_not_announced(changes: dict[str, Any]) -> None:
    """The node lacks the address; another router announces it; FRR prefers another path."""
    assert told(**changes) == Announcement(BLOCK)


def test_a_prefix_that_is_not_there() -> None:
    """FRR says an empty object."""
    assert announcement("{\n}\n", BLOCK) == Announcement(BLOCK)


def test_what_was_advertised() -> None:
    """Every prefix, whichever it is."""
    assert advertised('{"advertisedRoutes": {"10.0.0.0/8": {}, "192.168.10.5/32": {}}}') == ("10.0.0.0/8", BLOCK)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: sessions(""),
        lambda: sessions("[]"),
        lambda: sessions("% Unknown command"),
        lambda: sessions("{} {}"),
        lambda: sessions('{"a": NaN}'),
        lambda: sessions('{"a":' + "[" * 100_000),
        lambda: sessions("{" * 200_000),
        lambda: sessions(json.dumps({ENDPOINT: {**NEIGHBORS[ENDPOINT], "bgpState": 6}})),
        lambda: sessions(json.dumps({ENDPOINT: {**NEIGHBORS[ENDPOINT], "remoteAs": True}})),
        lambda: sessions(json.dumps({ENDPOINT: {**NEIGHBORS[ENDPOINT], "remoteAs": "65000"}})),
        lambda: sessions(json.dumps({ENDPOINT: {"remoteAs": 65000}})),
        lambda: announcement(json.dumps({**PREFIX, "prefix": "192.168.10.50/32"}), BLOCK),
        lambda: announcement(json.dumps({**PREFIX, "paths": "none"}), BLOCK),
        lambda: announcement(json.dumps({**PREFIX, "paths": [BLOCK]}), BLOCK),
        lambda: announcement(json.dumps({**PREFIX, "advertisedTo": [ENDPOINT]}), BLOCK),
        lambda: told(metric="5"),
        lambda: told(valid="true"),
        lambda: told(aspath={"string": "Local"}),
        lambda: told(aspath=None),
        lambda: advertised("{}"),
        lambda: advertised('{"warning": "No such neighbor in this view/vrf"}'),
    ],
)
def test_what_is_not_understood_is_unknown(ask: Callable[[], object]) -> None:
    """Neither announced nor withdrawn: exit 3."""
    with pytest.raises(MalformedResponseError) as caught:
        ask()

    assert caught.value.exit == 3
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prefix", "paths", "aspath", "valid", "bestpath", "advertisedTo"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=40)
@given(JSON)
def test_any_answer_is_understood_or_refused(value: Any) -> None:
    """Nothing else is raised, whatever the daemon says, and nothing that is not an own valid path counts as held."""
    for parse in (sessions, advertised, lambda text: announcement(text, BLOCK)):
        try:
            found = parse(json.dumps(value))
        except MalformedResponseError:
            continue
        assert not isinstance(found, Announcement) or not found.holds or value["prefix"] == BLOCK
