"""Changing a real kernel, when its socket fails: what was sent may have taken effect."""

from __future__ import annotations

from pathlib import Path
from sys import byteorder

import pytest

from ec2ident_agent import engine
from ec2ident_agent.desired import Desired
from ec2ident_agent.engine import Look
from ec2ident_agent.errors import KernelError
from ec2ident_agent.items import Route, Rule, Step
from ec2ident_agent.kernel.change import NetlinkKernel
from ec2ident_agent.kernel.messages import TYPES
from ec2ident_agent.state.journal import Journal
from ec2ident_agent.state.owned import interface
from tests.agent.conftest import ip, snapshot

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

ITEMS = (Route("10.0.1.0/24", "eth1", 100), Route("0.0.0.0/0", "eth1", 100, "10.0.1.1"), Rule("10.0.1.0/24", 100, 100))


def deaf(kernel: NetlinkKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket sends requests, and loses every answer to a change."""
    channel = kernel.channel
    messages, send = channel.messages, channel.send
    changing = False

    def note(message: bytes) -> None:
        nonlocal changing
        changing = int.from_bytes(message[4:6], byteorder) in TYPES.values()
        send(message)

    def lose() -> list[tuple[int, int, int, bytes]]:
        if changing:
            raise OSError(104, "Connection reset by peer")
        return messages()

    monkeypatch.setattr(channel, "send", note)
    monkeypatch.setattr(channel, "messages", lose)


def test_a_socket_that_fails_is_an_error_with_the_step_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is unknown which steps took effect, so the error does not say that all is undone."""
    kernel = NetlinkKernel()
    deaf(kernel, monkeypatch)

    with pytest.raises(
        KernelError, match=r"^netlink: no answer to ip rule add .*: Connection reset by peer$"
    ) as failed:
        kernel.do([Step("add", ITEMS[2])])

    kernel.close()
    assert (None, False) == (failed.value.item, failed.value.clean)


def test_what_took_effect_before_the_socket_failed_is_reverted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has added everything and its answers are lost: the journal names all of it."""
    before, journal, kernel = snapshot(), Journal(str(tmp_path)), NetlinkKernel()
    look = Look(kernel.observe(), journal.read())
    deaf(kernel, monkeypatch)

    with pytest.raises(KernelError, match="no answer"):
        engine.apply([Desired(interface("eth1"), ITEMS)], look, kernel, journal, lambda _: None)

    assert "from 10.0.1.0/24 lookup 100" in ip("rule")
    assert set(ITEMS) == {record.item for record in journal.read().records}
    other = NetlinkKernel()
    engine.revert(None, Look(other.observe(), journal.read()), other, journal, lambda _: None)
    assert (before, ()) == (snapshot(), journal.read().records)
    for each in (kernel, other):
        each.close()
