"""docs/trouble.md, failover's symptoms: the commands there print what the page shows, but for the ids."""

from __future__ import annotations

import shlex

from tests.symptoms import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .fake import Fake

OVERLAY = "192.168.10.5/32"


def ids(aws: Fake, text: str) -> str:
    """A text of the fake with the ids of the page."""
    first, second = sorted(aws.lab.tables)
    pairs = {
        first: "rtb-0a1b2c3d4e5f60001",
        second: "rtb-0a1b2c3d4e5f60002",
        aws.lab.node1: "i-0a1b2c3d4e5f60001",
        aws.lab.node2: "i-0a1b2c3d4e5f60002",
        aws.lab.eni1: "eni-0a1b2c3d4e5f60001",
        aws.lab.eni2: "eni-0a1b2c3d4e5f60002",
    }
    for theirs, page in pairs.items():
        text = text.replace(theirs, page)
    return text


def test_the_check_of_the_eni_is_on(aws: Fake, run: Callable[..., Any]) -> None:
    """Another program switched it on again after the move."""
    ((command, text),) = shown("It is here, but nothing reaches it")
    assert 0 == run("route", "ensure", "db")[0]
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "true"})
    code, lines, log = run(*shlex.split(command)[1:])

    assert (0, text) == (code, ids(aws, "\n".join([*lines, log])))
    assert 0 == run("route", "ensure", "db")[0]
    assert "is off, as it should be" in run("status", "db")[1][0]


def test_a_write_that_reading_back_does_not_show(aws: Fake, run: Callable[..., Any]) -> None:
    """EC2 answers the second call with yes, and does not do it before the deadline; the same command ends it."""
    ((command, text),) = shown("Written, not confirmed")
    aws.ask("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=aws.lab.eni1, **{"SourceDestCheck.Value": "false"})
    _, second = sorted(aws.lab.tables)
    done = "<ReplaceRouteResponse><return>true</return></ReplaceRouteResponse>"
    aws.fault(action="ReplaceRoute", match={"RouteTableId": second}, body=done)
    code, lines, log = run(*shlex.split(command)[1:], "--no-local", "--deadline", "4")

    assert (3, text) == (code, ids(aws, log + "\n".join([*lines, ""])).replace("within 4 s", "within 20 s"))
    aws.faults.clear()
    assert 0 == run(*shlex.split(command)[1:], "--no-local")[0]
