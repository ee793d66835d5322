"""The command line: bad input gets one clear line and the right exit code, on a kernel in memory."""

from __future__ import annotations

import pytest

from ec2ident_agent import cli, records
from ec2ident_agent.errors import AgentError
from ec2ident_agent.fake import FakeKernel
from ec2ident_agent.items import Address, Seen
from ec2ident_agent.journal import KIND, VERSION
from ec2ident_agent.profile import Facts

from .conftest import Agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Observed


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel("eth0", "eth1")
    kernel.add(Seen(Address("eth0", "10.0.0.10/24"), 3))
    kernel.add(Seen(Address("eth1", "10.0.1.10/24"), 3))
    return kernel


def run(agent: Agent, kernel: FakeKernel, *words: str) -> int:
    """The command with a kernel in memory."""
    try:
        return cli.Run(cli.read(agent.argv(*words)), kernel=kernel).run()
    except AgentError as wrong:
        agent.err = str(wrong)
        return wrong.exit


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "usage: ec2ident-agent VERB"),
        ("fly", r"fly: no such verb \(known: plan, apply,"),
        ("--colour x", "--colour: no option|no such verb"),
        ("status --colour x", "--colour: no option of status"),
        ("status --table 5", "--table: no option of status"),
        ("apply eth1 --table", "--table: needs a value"),
        ("apply eth1 --table=", "--table: needs a value"),
        ("apply eth1 --table MYHA", "--table MYHA: not a number"),
        ("apply eth1 --table -5", "--table -5: not a number"),
        ("apply eth1 --table 254", "the kernel's own table main"),
        ("apply --table 100", "--table: name one interface"),
        ("apply eth0 eth1 --table 100", "--table: name one interface"),
        ("apply eth9", r"eth9: no such interface \(this node has eth0, eth1, lo\)"),
        ("apply eth9 --table 100", "eth9: no such interface"),
        ("status eth9", "eth9: no such interface"),
        ("apply eth0", r"eth0: nothing is configured for it; write \[interface\.eth0\], or flags"),
        ("apply eth1 --subnet 10.0.1.0/24 --router 10.0.9.1 --table 100", r"router 10\.0\.9\.1 is not in its subnet"),
        ("apply eth1 --subnet 10.0.1.0/33 --table 100", "subnet: 10.0.1.0/33 does not appear to be"),
        ("apply a/b --table 100", "'a/b' is no name of a network interface"),
        ("apply --overlay 192.168.10.10/24 --device eth0", "an overlay address is a /32"),
        ("apply --overlay 192.168.10.10/32", "on which device"),
        ("apply --overlay 192.168.10.10/32 --device eth9", "eth9: no such interface"),
        ("apply --overlay 192.168.10.10/32 --device eth0 --label eth0:abcdefghijk", "longer than 15 characters"),
        ("apply --overlay 192.168.10.10/32 --device eth0 --label eth1:1", "does not begin with its device"),
        ("overlay", "write  overlay add ADDRESS"),
        ("overlay hold 10.9.9.9", "write  overlay add ADDRESS"),
        ("overlay add ten", "overlay: ten: not an IP address"),
        ("overlay add 10.9.9.9", "on which device"),
        ("revert", "revert: name the interfaces, or write --all"),
        ("revert eth1 --all", "revert: name the interfaces, or write --all"),
        ("revert --all --wait soon", "--wait soon: not a number of seconds"),
        ("revert --all --wait nan", "--wait nan: not a number of seconds"),
    ],
)
def test_wrong_words_are_usage(agent: Agent, kernel: FakeKernel, words: str, says: str) -> None:
    """One line that says what is wrong and what to write; nothing was touched."""
    import re

    if not words:
        assert 2 == agent()
        return
    code = run(agent, kernel, *words.split())

    assert 2 == code
    assert re.search(says, agent.err), agent.err
    assert "\n" not in agent.err
    assert [] == kernel.done


@pytest.mark.parametrize(("verb", "code"), [("status", 3), ("plan", 3), ("apply", 4), ("revert --all", 4)])
@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"{}", records.pack(KIND, VERSION + 1, [])])
def test_a_journal_that_cannot_be_read_is_refused(agent: Agent, verb: str, code: int, data: bytes) -> None:
    """Damaged or newer: who looks could not tell, who acts is refused; it is never taken for an empty one."""
    agent.state.mkdir()
    (agent.state / "journal").write_bytes(data)

    assert code == agent(*verb.split())
    assert 1 == agent.err.count("\n")
    assert "journal" in agent.err
    assert data == (agent.state / "journal").read_bytes()


def test_what_the_facts_do_not_say_is_unknown(agent: Agent, kernel: FakeKernel) -> None:
    """The kernel knows eth1's subnet but no device number: could not tell, and says what to write."""
    agent.write("[interface.eth1]\n")

    assert 3 == run(agent, kernel, "apply")
    assert [] == kernel.done
    assert 3 == run(agent, kernel, "apply", "eth1", "--priority", "5")
    assert "table unknown" in agent.err
    assert "or --table" in agent.err
    assert 0 == run(agent, kernel, "apply", "eth1", "--table", "100")
    assert ["ip route add 10.0.1.0/24 dev eth1 table 100 scope link",
            "ip route add default via 10.0.1.1 dev eth1 table 100",
            "ip rule add from 10.0.1.0/24 table 100 priority 100"] == list(map(str, kernel.done))  # fmt: skip


def test_what_has_become_unknown_is_not_removed(agent: Agent, kernel: FakeKernel) -> None:
    """A metadata service that is silent, late or mad: what works stays, and the exit code says so."""
    agent.write("[interface.eth1]\n")
    known = True

    def facts_of(device: str, observed: Observed) -> Facts:
        return Facts(device, ("10.0.1.0/24",), ("10.0.1.1",), table=23601) if known else Facts(device)

    def again(*words: str) -> int:
        return cli.Run(cli.read(agent.argv(*words)), facts_of, kernel).run()

    assert 0 == again("apply")
    before = list(kernel.seen)
    known = False
    assert (3, 3) == (again("apply"), again("status"))
    assert before == kernel.seen
    known = True
    assert (0, 0) == (again("apply"), again("status"))
    assert before == kernel.seen


def test_help_is_a_result(agent: Agent) -> None:
    """On stdout, exit code 0; every verb is in it."""
    assert 0 == agent("--help")
    assert "" == agent.err
    assert [] == [verb for verb in cli.VERBS if verb not in agent.out]


def test_without_a_word_the_usage_is_an_error(agent: Agent) -> None:
    """Exit code 2."""
    assert 2 == cli.main([])


def test_everything_reverted_without_a_journal_is_done(agent: Agent, kernel: FakeKernel) -> None:
    """Nothing to take off is no error."""
    assert 0 == run(agent, kernel, "revert", "--all")
