"""The command line: bad input gets one clear line and the right exit code, on a kernel in memory."""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ec2ident_agent import cli, options
from ec2ident_agent.errors import AgentError
from ec2ident_agent.items import OURS, Address, Route, Rule, Seen
from ec2ident_agent.kernel.fake import FakeKernel
from ec2ident_agent.profile import Facts
from ec2ident_agent.state import statefile
from ec2ident_agent.state.journal import KIND, VERSION, Journal

from .conftest import Agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.items import Item, Observed


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel("eth0", "eth1")
    kernel.add(Seen(Address("eth0", "10.0.0.10/24"), 3))
    kernel.add(Seen(Address("eth1", "10.0.1.10/24"), 3))
    return kernel


def run(agent: Agent, kernel: FakeKernel, *words: str) -> int:
    """The command with a kernel in memory."""
    try:
        return cli.Command(options.parse_command_line(agent.argv(*words)), kernel=kernel).run()
    except AgentError as wrong:
        agent.err = str(wrong)
        return wrong.exit


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "usage: ec2ident-agent VERB"),
        ("fly", r"fly: no such verb \(known: plan, apply,"),
        ("--json", r"^which verb\? \(known: plan, apply,"),
        ("--colour x", "--colour: no such option; see"),
        ("status -c", "-c: no such option; see"),
        ("revert --all=no", "--all: takes no value"),
        ("status --table 5", "--table: not an option of status"),
        ("apply eth1 --table", "--table: needs a value"),
        ("apply eth1 --table=", "--table: needs a value"),
        ("apply eth1 --table MYHA", "--table MYHA: not a number"),
        ("apply eth1 --table -5", "--table -5: not a number"),
        pytest.param(f"apply eth1 --table {'9' * 5000}", "--table 9{40}: not a number$", id="a giant"),
        ("apply eth1 --table 254", "the kernel's own table main"),
        ("apply --table 100", "--table: name one interface"),
        ("apply eth0 eth1 --table 100", "--table: name one interface"),
        ("apply eth9", r"eth9: no such interface \(this node has eth0, eth1, lo\)"),
        ("apply eth9 --table 100", "eth9: no such interface"),
        ("status eth9", "eth9: no such interface"),
        ("apply eth0", r"eth0: nothing is configured for it; write \[interface\.eth0\], or flags"),
        ("apply eth1 --subnet 10.0.1.0/24 --router 10.0.9.1 --table 100", r"router 10\.0\.9\.1 is not in its subnet"),
        ("apply eth1 --subnet 10.0.1.0/33 --table 100", "subnet: 10.0.1.0/33 does not appear to be"),
        ("apply a/b --table 100", "'a/b' is not the name of a network interface"),
        ("apply --overlay 192.168.10.10/24 --device eth0", "an overlay address is a /32"),
        ("apply --overlay 192.168.10.10/32", "on which device"),
        ("apply --overlay 192.168.10.10/32 --device eth9", "eth9: no such interface"),
        ("apply --overlay 192.168.10.10/32 --device eth0 --label eth0:abcdefghijk", "longer than 15 characters"),
        ("apply --overlay 192.168.10.10/32 --device eth0 --label eth1:1", "does not begin with its device"),
        ("apply --overlay 192.168.10.10/32 --device eth0 --via eth9", "eth9: no such interface"),
        ("plan eth1 --label eth1:1", "--label: goes with --overlay ADDRESS"),
        ("overlay add 192.168.10.10 --device eth0 --via eth9", "eth9: no such interface"),
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
    if not words:
        assert 2 == agent()
        return
    code = run(agent, kernel, *words.split())

    assert 2 == code
    assert re.search(says, agent.err), agent.err
    assert "\n" not in agent.err
    assert [] == kernel.done


@pytest.mark.parametrize(
    ("verb", "code"), [("status", 3), ("--json status", 3), ("plan", 3), ("apply", 4), ("revert --all", 4)]
)
@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\0", b"{}", statefile.pack(KIND, VERSION + 1, []), f"{KIND} {'9' * 5000}\n".encode()],
    ids=["empty", "zeros", "JSON", "newer", "a giant"],
)
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


def test_a_named_interface_does_not_wait_for_others(agent: Agent, kernel: FakeKernel) -> None:
    """Another interface of which nothing is known does not matter to the overlay; the one that it is routed to does."""
    agent.write(
        '[interface.eth0]\n[interface.eth1]\ntable = 100\nsubnet = "10.0.1.0/24"\n'
        '[[overlay]]\naddress = "192.168.1.1"\ndevice = "eth1"\n[[overlay]]\naddress = "192.168.0.1"\ndevice = "eth0"\n'
    )
    asked = []

    def facts_of(device: str, observed: Observed) -> Facts:
        asked.append(device)
        return Facts(device)

    def again(*words: str) -> int:
        return cli.Command(options.parse_command_line(agent.argv(*words)), facts_of, kernel).run()

    assert (1, 0, 0) == (again("status", "eth1"), again("apply", "eth1"), again("status", "eth1"))
    assert (0, 0) == (again("apply", "overlay 192.168.1.1/32"), again("plan", "overlay 192.168.1.1/32"))
    assert [] == asked
    assert 3 == again("status", "overlay 192.168.0.1/32")
    assert {"eth0"} == set(asked)
    assert 3 == again("status")


def test_a_dry_run_says_whether_apply_would_change_anything(agent: Agent, kernel: FakeKernel) -> None:
    """1 when it would, as `plan`; what cannot be told and what is refused ends as in the apply."""
    agent.write("[interface.eth1]\n")
    assert 3 == run(agent, kernel, "apply", "--dry-run")
    agent.write('[interface.eth1]\ntable = 100\nsubnet = "10.0.1.0/24"\n')
    assert 1 == run(agent, kernel, "apply", "--dry-run")
    kernel.link_down("eth1")
    assert 1 == run(agent, kernel, "apply", "--dry-run") == run(agent, kernel, "apply")
    kernel.link_up("eth1")
    kernel.add(Seen(Route("10.0.1.0/24", "eth0", 100), 3))
    assert 4 == run(agent, kernel, "apply", "--dry-run") == run(agent, kernel, "apply")
    assert [] == kernel.done


def test_flags_go_before_what_is_configured_of_an_overlay(agent: Agent, kernel: FakeKernel) -> None:
    """And what no flag says is as configured."""
    agent.write('[[overlay]]\naddress = "192.168.1.1"\ndevice = "eth0"\nlabel = "eth0:7"\n')
    for words, device, label in (((), "eth0", "eth0:7"), (("--label", "eth0:8"), "eth0", "eth0:8")):
        assert 0 == run(agent, kernel, "overlay", "add", "192.168.1.1", *words)
        assert Address(device, "192.168.1.1/32", label) in {seen.item for seen in kernel.seen}


@pytest.mark.parametrize("via", ["service", "eth1"])
def test_an_overlay_is_routed_to_a_section_by_either_name(agent: Agent, kernel: FakeKernel, via: str) -> None:
    """A section that is found by its MAC has a name of its own beside its device's."""
    mac = kernel.links[2].mac
    section = f'[interface.service]\nmac = "{mac}"\nsubnet = "10.0.1.0/24"\ntable = 100\n'
    agent.write(f'{section}[[overlay]]\naddress = "192.168.1.1"\ndevice = "eth0"\nvia = "{via}"\n')
    rules = {Rule(f"192.168.1.{number}/32", 100, 100) for number in (1, 2, 3)}

    assert 0 == run(agent, kernel, "apply", "overlay 192.168.1.1/32")
    assert 0 == run(agent, kernel, "apply")
    assert 0 == run(agent, kernel, "overlay", "add", "192.168.1.2", "--device", "eth0", "--via", via)
    assert 0 == run(agent, kernel, "overlay", "add", "192.168.1.3", "--device", "eth1")
    assert rules < set(map(ours, kernel.seen))


def test_a_revert_of_nothing_says_so(agent: Agent, kernel: FakeKernel) -> None:
    """A name that is misspelt, or a section's other name, is reported and not an error."""
    assert 0 == run(agent, kernel, "revert", "ethl")
    assert agent._capsys.readouterr().err == "ec2ident-agent: ethl: the agent has added nothing for it\n"


@pytest.mark.parametrize("word", ["192.168.10.10", "192.168.10.10/32", "overlay 192.168.10.10/32"])
def test_an_overlay_is_named_by_its_address(agent: Agent, kernel: FakeKernel, word: str) -> None:
    """With or without its length, or as status prints it; the interface that holds it is another owner."""
    assert (0, 0) == (run(agent, kernel, "apply"), run(agent, kernel, "status", word))
    assert 0 == run(agent, kernel, "revert", word)

    assert Address not in {type(item) for item in map(ours, kernel.seen)}
    assert Rule("10.0.1.0/24", 100, 100) in set(map(ours, kernel.seen))


def test_what_has_become_unknown_is_not_removed(agent: Agent, kernel: FakeKernel) -> None:
    """A metadata service that is silent, late or mad: what works stays, and the exit code says so."""
    agent.write("[interface.eth1]\n")
    known = True

    def facts_of(device: str, observed: Observed) -> Facts:
        return Facts(device, ("10.0.1.0/24",), ("10.0.1.1",), table=23601) if known else Facts(device)

    def again(*words: str) -> int:
        return cli.Command(options.parse_command_line(agent.argv(*words)), facts_of, kernel).run()

    assert 0 == again("apply")
    before = list(kernel.seen)
    known = False
    assert (3, 3) == (again("apply"), again("status"))
    assert before == kernel.seen
    known = True
    assert (0, 0) == (again("apply"), again("status"))
    assert before == kernel.seen


def test_what_is_not_on_this_node_is_shown_and_not_in_order(agent: Agent, kernel: FakeKernel) -> None:
    """An interface may be attached at any time, so apply has nothing to do; but a misspelt name is not in order."""
    agent.write('[interface.eth7]\ntable = 107\n[[overlay]]\naddress = "192.168.10.10"\ndevice = "eth8"\n')
    assert 0 == run(agent, kernel, "apply")
    agent._capsys.readouterr()
    assert (0, "") == (run(agent, kernel, "plan"), agent._capsys.readouterr().out)

    assert 1 == run(agent, kernel, "status")
    assert [
        "absent  eth7                      its interface is not on this node",
        "absent  overlay 192.168.10.10/32  its interface is not on this node",
        "drift: 2 absent",
    ] == agent._capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "words", ["overlay add {} --device eth0", "apply eth1 --vpc 10.0.0.0/16 --table 100 --overlay {} --device eth0"]
)
def test_an_overlay_inside_the_vpc_is_warned_of(agent: Agent, kernel: FakeKernel, words: str) -> None:
    """For every owner: no client reaches it, since a VPC delivers its own addresses to the ENI that has them."""
    agent.write('[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\nvpc = "10.0.0.0/16"\n')
    for address, warned in (("10.0.5.5", 1), ("10.1.5.5", 0)):
        agent._capsys.readouterr()
        assert 0 == run(agent, kernel, *words.format(address).split())
        said = agent._capsys.readouterr().err
        assert warned == said.count(
            f"warning: overlay {address}/32 lies inside the VPC's own 10.0.0.0/16: it cannot be reached"
        )


def test_what_a_terminal_would_obey_is_shown(agent: Agent, kernel: FakeKernel) -> None:
    """The kernel lets an escape sequence into a device's name, and a file may say anything."""
    kernel.plug("e\x1b[2J\x9b\udcff")
    kernel.plug("\u202e1hte")

    assert 0 == run(agent, kernel, "overlay", "add", "192.168.10.30", "--device=e\x1b[2J\x9b\udcff")
    assert 0 == run(agent, kernel, "overlay", "add", "192.168.10.31", "--device=\u202e1hte")
    assert 1 == run(agent, kernel, "status")

    out, err = agent._capsys.readouterr()
    assert "e\\x1b[2J\\x9b\\udcff" in out
    assert "e\\x1b[2J\\x9b\\udcff" in err
    # Right-to-left override: a terminal shows "\u202e1hte" as eth1.
    assert "dev '\\u202e1hte'" in out
    assert "\u202e" not in out + err
    assert set() == {c for c in out + err if not c.isprintable()} - {"\n"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(("verb", "stream"), [("status", 1), ("--help", 1), ("fly", 2)])
def test_a_full_disk_is_one_line_and_no_traceback(agent: Agent, verb: str, stream: int) -> None:
    """A result that was not written was not given: exit code 4. A log that cannot be written is not reported."""
    agent.write("")
    with open("/dev/full", "w") as full:
        pipes = {name: full if number == stream else subprocess.PIPE for name, number in (("stdout", 1), ("stderr", 2))}
        done = agent.process(verb, capture_output=False, **pipes)

    if stream == 1:
        assert (4, "ec2ident-agent: standard output: No space left on device\n") == (done.returncode, done.stderr)
    else:
        assert (2, "") == (done.returncode, done.stdout)


def test_where_nothing_can_be_written_apply_refuses_and_revert_does_what_it_can(
    agent: Agent, kernel: FakeKernel
) -> None:
    """A full disk: nothing is added that the journal does not name, and what is added is removed all the same."""
    with nothing_to_be_written():
        assert 4 == run(agent, kernel, "apply")
        assert re.search("journal: cannot be written: File too large$", agent.err), agent.err
        assert [] == kernel.done
    assert 0 == run(agent, kernel, "apply")
    agent._capsys.readouterr()
    with nothing_to_be_written():
        assert 4 == run(agent, kernel, "revert", "eth1")
        assert "suppressed: cannot be written: File too large; watch will add" in agent._capsys.readouterr().err
        assert {"eth0"} == {item.device for item in map(ours, kernel.seen) if isinstance(item, (Address, Route))}
        assert 0 == run(agent, kernel, "revert", "--all")
    assert {None} == set(map(ours, kernel.seen))
    assert {"lock"} == {*os.listdir(agent.state)} - {"config"}


def ours(seen: Seen) -> Item | None:
    return seen.item if seen.protocol == OURS else None


@contextmanager
def nothing_to_be_written() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_suppression_that_cannot_be_lifted_is_one_line(agent: Agent, kernel: FakeKernel) -> None:
    """And nothing is added, since watch would remove it."""
    assert (0, 0) == (run(agent, kernel, "apply"), run(agent, kernel, "revert", "--all"))
    (agent.state / "suppressed.new").mkdir()
    kernel.done.clear()

    assert 4 == run(agent, kernel, "apply", "eth1")
    assert re.search("suppressed: cannot be written: Is a directory$", agent.err), agent.err
    assert [] == kernel.done


def test_a_name_that_cannot_be_written_keeps_no_owner_from_its_routes(agent: Agent, kernel: FakeKernel) -> None:
    """A full disk: routing needs no names. It is said, seen as missing, and written when that is possible."""
    (agent.names / "ec2ident.conf.new").mkdir()

    assert 0 == run(agent, kernel, "apply")
    said = agent._capsys.readouterr().err
    assert f"warning: table names: {agent.names}/ec2ident.conf: Is a directory; ip shows the number" in said
    assert Rule("10.0.1.0/24", 100, 100) in set(map(ours, kernel.seen))
    assert 1 == run(agent, kernel, "status")
    assert "missing  eth1" in agent._capsys.readouterr().out
    (agent.names / "ec2ident.conf.new").rmdir()
    assert (0, 0) == (run(agent, kernel, "apply"), run(agent, kernel, "status"))
    assert 0 == run(agent, kernel, "revert", "--all")
    assert [] == os.listdir(agent.names)


def test_who_waits_may_be_interrupted(agent: Agent) -> None:
    """Ctrl-C while another process holds the lock: one line, and the shell's own exit code for it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    with Journal(str(agent.state)).lock():
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        code = agent("revert", "--all", "--wait", "60")
    signal.signal(signal.SIGALRM, before)

    assert (130, "ec2ident-agent: interrupted\n") == (code, agent.err)


def test_help_is_a_result(agent: Agent) -> None:
    """On stdout, exit code 0; every verb is in it."""
    assert 0 == agent("--help")
    assert "" == agent.err
    assert [] == [verb for verb in options.VERBS if verb not in agent.out]


@pytest.mark.parametrize("verb", sorted(options.VERBS))
def test_each_verb_has_a_help(agent: Agent, verb: str) -> None:
    """`help VERB` and `VERB --help` are the same, whatever else is on the line."""
    assert 0 == agent("help", verb)
    text = agent.out
    assert text.startswith(f"usage: ec2ident-agent {verb} ")
    assert (0, text) == (agent(verb, "--help"), agent.out)
    assert (0, text) == (agent(verb, "eth1", "-h"), agent.out)


def test_a_help_that_there_is_not_is_an_error(agent: Agent) -> None:
    """With the verb that was meant."""
    assert 2 == agent("help", "statsu")
    assert "ec2ident-agent: statsu: no such verb (did you mean status?)\n" == agent.err


def test_each_verb_has_a_method() -> None:
    """And the other way; hook has a function of its own."""
    assert {*options.VERBS} == {*cli.Command.METHODS, "hook"}


def test_without_a_word_the_usage_is_an_error(agent: Agent) -> None:
    """Exit code 2."""
    assert 2 == cli.main([])


def test_everything_reverted_without_a_journal_is_done(agent: Agent, kernel: FakeKernel) -> None:
    """Having nothing to remove is not an error."""
    assert 0 == run(agent, kernel, "revert", "--all")


def test_watch_collects_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs for months; for the other verbs the collector rests."""
    monkeypatch.setattr("ec2ident_agent.watch.loop.watch", lambda *_, **__: 10 + gc.isenabled())

    assert 11 == cli.main(["watch"])
