"""The command on a real kernel: added, looked at, repaired, removed; and what was there before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ec2ident_agent import cli
from ec2ident_agent.kernel import dump
from ec2ident_agent.kernel.change import NetlinkKernel

from .conftest import Agent, ip, plug, refusing, snapshot

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

APPLIED = """\
[#] echo '100 MYHA' >>/etc/iproute2/rt_tables.d/ec2ident.conf
[#] ip address add 192.168.10.10/32 dev eth0 label eth0:1
[#] ip route add 10.0.1.0/24 dev eth1 table 100 scope link
[#] ip route add default via 10.0.1.1 dev eth1 table 100
[#] ip rule add from 10.0.1.0/24 table 100 priority 100
"""

BOTH_FAMILIES = """\
[interface.eth1]
subnet = ["10.0.1.0/24", "fd00:0:0:1::/64"]
router = ["10.0.1.1", "fe80::1"]
table = 1000

[[overlay]]
address = "fd00:5::1"
device = "eth1"

[[overlay]]
address = "192.168.10.10"
device = "eth1"
"""

SPLIT = """\
[interface.eth1]
subnet = ["10.0.1.0/24", "fd00:0:0:1::/64"]
router = ["10.0.1.1", "fe80::1"]
scheme = "split"
table = 23601
source = ["10.0.1.10/32", "fd00:0:0:1::10/128"]
vpc = ["10.0.0.0/16", "10.9.0.0/16", "fd00::/56"]
"""


def test_the_published_recipe_exactly(agent: Agent) -> None:
    """Table, rule, default route by the router, overlay with its label: what the kernel shows afterwards."""
    assert 0 == agent("apply")

    assert APPLIED == agent.err
    assert "100:\tfrom 10.0.1.0/24 lookup 100 proto 236" in ip("-N rule")
    assert ["default via 10.0.1.1 dev eth1 proto 236", "10.0.1.0/24 dev eth1 proto 236 scope link"] == [
        line.strip() for line in ip("route show table 100").splitlines()
    ]
    assert "inet 192.168.10.10/32 scope global eth0:1" in ip("address show dev eth0")
    assert "100\tMYHA\n" in (agent.names / "ec2ident.conf").read_text()


@pytest.mark.parametrize("configuration", ["", BOTH_FAMILIES, SPLIT])
def test_apply_twice_and_revert_twice(agent: Agent, configuration: str) -> None:
    """The second time of either changes nothing, and afterwards all is byte-equal to before."""
    if configuration:
        agent.write(configuration)
    before = snapshot()

    assert (1, 0, 0) == (agent("status"), agent("apply"), agent("status"))
    applied = snapshot()
    assert before != applied
    assert (0, "") == (agent("apply"), agent.err)
    assert (0, "") == (agent("plan"), agent.out)
    assert applied == snapshot()

    assert 0 == agent("revert", "--all")
    assert before == snapshot()
    assert (0, "") == (agent("revert", "--all"), agent.err)
    assert before == snapshot()
    assert ([], ["lock"]) == (os.listdir(agent.names), sorted({*os.listdir(agent.state)} - {"config", "suppressed"}))


def test_a_dry_run_prints_what_apply_would_log(agent: Agent) -> None:
    """And changes nothing, not even a file."""
    before = snapshot()

    assert 1 == agent("apply", "--dry-run")

    assert APPLIED.replace("[#] ", "") == agent.out
    assert before == snapshot()
    assert not (agent.state / "journal").exists()


def test_flags_do_what_the_configuration_does(agent: Agent) -> None:
    """The same five steps without a file; held until reverted, and repaired by an apply without arguments."""
    flags = "--subnet 10.0.1.0/24 --router 10.0.1.1 --table 100 --table-name MYHA --priority 100"
    overlay = "--overlay 192.168.10.10/32 --device eth0 --label eth0:1"
    agent.write("")
    before = snapshot()

    assert (0, APPLIED) == (agent("apply", "eth1", *flags.split(), *overlay.split()), agent.err)
    assert 0 == agent("status")
    ip("route flush table 100")
    assert (1, 0, 0) == (agent("status"), agent("apply"), agent("status"))
    assert 0 == agent("revert", "eth1", "192.168.10.10/32")
    assert before == snapshot()


def test_drift_is_seen_named_and_repaired(agent: Agent) -> None:
    """Another program flushes the table: status says which items are missing, and apply brings them back."""
    agent("apply")
    applied = snapshot()
    ip("route flush table 100")

    assert 1 == agent("status")
    assert ["missing", "missing"] == [line.split()[0] for line in agent.out.splitlines() if line.startswith("missing")]
    assert "drift: 2 missing" == agent.out.splitlines()[-1]
    agent("status", "--json")
    told = json.loads(agent.out)
    assert not told["in_order"]
    assert ["ip route add 10.0.1.0/24 dev eth1 table 100 scope link",
            "ip route add default via 10.0.1.1 dev eth1 table 100"] == told["steps"]  # fmt: skip

    assert (0, 0) == (agent("apply"), agent("status"))
    assert applied == snapshot()


@pytest.mark.parametrize(
    "event",
    ["rule del from 10.0.1.0/24 table 100", "link set eth1 down", "address del 192.168.10.10/32 dev eth0"],
)
def test_every_loss_is_drift(agent: Agent, event: str) -> None:
    """The kernel drops routes without a word, others delete rules and addresses: all of it shows, and is repaired."""
    agent("apply")
    ip(event)

    assert 1 == agent("status")
    if "down" in event:
        assert 1 == agent("apply")
        assert "eth1: waits until its link is up" in agent.err
        ip("link set eth1 up")
    assert (0, 0) == (agent("apply"), agent("status"))


#: What was there before: one field away from the agent's, each.
NEAR_MISSES = (
    "rule add from 10.0.1.0/24 table 100 priority 100",
    "rule add from 10.0.1.0/24 table 100 priority 100 protocol 201",
    "rule add from 10.0.1.0/24 table 100 priority 100 fwmark 7",
    "rule add from 10.0.1.0/24 table 100 priority 100 iif eth1",
    "rule add from 10.0.1.0/24 table 100 priority 100 suppress_prefixlength 0",
    "rule add from 10.0.1.0/24 to 10.0.0.0/8 table 100 priority 100",
    "rule add from 10.0.1.0/24 table 100 priority 100 tos 0x10",
    "rule add from 10.0.1.0/25 table 100 priority 100",
    "rule add from 10.0.1.0/24 table 100 priority 101",
    "rule add from 10.0.1.0/24 table 101 priority 100",
    "rule add not from 10.0.1.0/24 table 100 priority 102",
    "-6 rule add from fd00:0:0:1::/64 table 100 priority 100",
    "route add 10.0.1.0/24 dev eth1 table 101",
    "route add 10.0.1.0/24 dev eth1 metric 5 proto 236",
    "address add 192.168.10.10/32 dev eth1 label eth1:1",
    "address add 192.168.10.10/24 dev eth0 label eth0:1",
    "address add 192.168.10.11/32 dev eth0 label eth0:1",
)


@pytest.mark.parametrize("before_us", [True, False])
def test_what_is_not_the_agents_survives(agent: Agent, before_us: bool) -> None:
    """Every near miss stays, whether it was there before us or came after."""
    untouched = snapshot()
    theirs = [each for each in NEAR_MISSES if "proto 236" not in each]
    for each in theirs if before_us else ():
        ip(each)
    before = snapshot()
    agent("apply")
    for each in () if before_us else theirs:
        ip(each)
    agent("apply")
    agent("revert", "--all")

    if before_us:
        assert before == snapshot()
    else:
        after = snapshot()
        for each in theirs:
            ip(each.replace(" add ", " del "))
        assert after != snapshot()
        assert untouched == snapshot()


def test_the_number_alone_does_not_make_a_rule_the_agents(agent: Agent) -> None:
    """Another program's rule has the agent's number and one selector more. The kernel would remove it in place of
    the agent's, since it removes the first match: so the agent's stays, with an error that names the other."""
    ip("rule add from 10.0.1.0/24 table 100 priority 100 protocol 236 fwmark 7")
    theirs = ip("rule")
    agent("apply")

    assert 4 == agent("revert", "--all")
    assert "the kernel would remove another rule first" in agent.err
    assert "fwmark 0x7" in ip("rule")

    ip("rule del from 10.0.1.0/24 table 100 priority 100 protocol 236 fwmark 7")
    assert 0 == agent("revert", "--all")
    ip("rule add from 10.0.1.0/24 table 100 priority 100 protocol 236 fwmark 7")
    assert theirs == ip("rule")


def test_revert_after_the_interface_is_gone(agent: Agent) -> None:
    """The kernel leaks the rules of a detached interface. No configuration is needed, and no metadata service."""
    before = snapshot()
    agent("apply")
    agent.config.unlink()
    ip("link del eth1")
    assert "from 10.0.1.0/24 lookup 100" in ip("-N rule")

    assert 0 == agent("revert", "--all")

    assert "10.0.1.0/24" not in ip("rule")
    plug("eth1", 1)
    assert before == snapshot()


def test_apply_removes_the_rule_that_a_detach_leaks(agent: Agent) -> None:
    """And adds everything again when the interface is back."""
    agent("apply")
    applied = snapshot()
    ip("link del eth1")

    assert 1 == agent("status")
    assert 0 == agent("apply")
    assert "10.0.1.0/24" not in ip("rule")
    assert (1, "drift: 1 absent") == (agent("status"), agent.out.splitlines()[-1])

    plug("eth1", 1)
    assert 0 == agent("apply")
    assert 0 == agent("status")
    assert sorted(applied.splitlines()) == sorted(snapshot().splitlines())


def test_revert_finds_the_agents_under_a_new_name(agent: Agent) -> None:
    """A rename keeps the index, and rewrites the label."""
    agent("apply")
    for device in ("eth0", "eth1"):
        ip("link set", device, "down")
        ip("link set", device, "name", device.replace("eth", "ens"))
        ip("link set", device.replace("eth", "ens"), "up")

    assert 0 == agent("revert", "--all")

    assert "192.168.10.10" not in snapshot()
    assert "10.0.1.0/24" not in ip("rule")


def test_apply_enters_what_is_there_after_the_journal_was_lost(agent: Agent) -> None:
    """Another program emptied /run. Without an apply, revert leaves all in place: it may be another agent's."""
    before = snapshot()
    agent("apply")
    applied = snapshot()
    shutil.rmtree(agent.state)

    assert 0 == agent("revert", "--all")
    assert applied == snapshot()
    assert f"not in {agent.state}/journal, so left in place" in agent.err
    assert 0 == agent("apply")
    assert applied == snapshot()
    assert 0 == agent("revert", "--all")
    assert before == snapshot()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6 is disabled after the agent's look, so the agent asks for it, and the kernel refuses."""
    monkeypatch.setattr(dump, "_has_ipv6", lambda _: True)


@pytest.mark.usefixtures("late")
def test_what_the_kernel_refuses_in_ipv6_stops_nothing_else(agent: Agent) -> None:
    """The error is the command and the kernel's own words; nothing of that interface's IPv6 is left."""
    agent.write(
        """
        [interface.eth0]
        subnet = "10.0.0.0/24"
        table = 101
        [interface.bad]
        mac = "06:00:00:00:00:01"
        subnet = ["10.0.1.0/24", "fd00:0:0:1::/64"]
        router = ["10.0.1.1", "fe80::1"]
        table = 102
        """
    )
    Path("/proc/sys/net/ipv6/conf/eth1/disable_ipv6").write_text("1")
    before = snapshot()

    assert 4 == agent("apply")

    assert (
        "ip -6 route add fd00:0:0:1::/64 dev eth1 table 102 metric 1024: IPv6 is disabled on nexthop device"
        in agent.err
    )
    ours = [line for line in snapshot().splitlines() if "proto 236" in line and line not in before]
    assert ["10.0.0.0/24", "10.0.1.0/24"] == sorted(line.split()[2] for line in ours if "lookup" in line)
    assert not [line for line in ours if "fd00" in line or "fe80" in line]
    assert 0 == agent("revert", "--all")
    assert before == snapshot()


@pytest.mark.usefixtures("late")
def test_a_failed_change_keeps_what_was_applied_before(agent: Agent) -> None:
    """Rollback is to the state before this call, not to nothing."""
    agent("apply")
    applied, journal = snapshot(), (agent.state / "journal").read_bytes()
    agent.write(agent.config.read_text() + '[[overlay]]\naddress = "fd00:5::1"\ndevice = "eth0"\n')
    Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").write_text("1")
    applied = snapshot()

    assert 4 == agent("apply")

    assert "ip -6 address add fd00:5::1/128 dev eth0 nodad: ipv6: IPv6 is disabled on this device" in agent.err
    assert (applied, journal) == (snapshot(), (agent.state / "journal").read_bytes())


def test_a_foreign_route_in_the_place_of_one_is_refused(agent: Agent) -> None:
    """Nothing of eth1 is added, and the overlay is, all the same."""
    before = snapshot()
    ip("route add blackhole default table 100")

    assert 4 == agent("apply")

    assert "eth1: table 100 holds a foreign route: default" in agent.err
    assert "blackhole default" == ip("route show table 100").strip()
    assert "10.0.1.0/24" not in ip("rule")
    assert "192.168.10.10/32 scope global eth0:1" in ip("address")
    assert 1 == agent("status")
    assert ["conflict", "refused", "refused", "refused", "ok", "drift:"] == [
        line.split()[0] for line in agent.out.splitlines()
    ]
    assert 0 == agent("revert", "--all")
    ip("route del blackhole default table 100")
    assert before == snapshot()


def test_a_foreign_address_is_not_taken_over(agent: Agent) -> None:
    """The same address on the same device, without the agent's number; eth1's profile is added all the same."""
    ip("address add 192.168.10.10/32 dev eth0")
    before, theirs = snapshot(), ip("-d address")

    assert 4 == agent("apply")
    assert "overlay 192.168.10.10/32: 192.168.10.10/32 dev eth0 label eth0:1: a foreign object is there" in agent.err
    assert theirs == ip("-d address")
    assert "from 10.0.1.0/24 lookup 100 proto 236" in ip("-N rule")
    assert 0 == agent("revert", "--all")
    assert before == snapshot()


def test_what_left_the_configuration_is_removed(agent: Agent) -> None:
    """The configuration's word counts at each apply; another gateway replaces the agent's."""
    agent("apply")
    agent.write('[interface.eth1]\nsubnet = "10.0.1.0/24"\nrouter = "10.0.1.254"\ntable = 100\n')

    assert 0 == agent("apply")

    assert "default via 10.0.1.254" in ip("route show table 100")
    assert "192.168.10.10" not in ip("address")
    assert 0 == agent("status")


def test_an_overlay_is_held_until_it_is_deleted(agent: Agent) -> None:
    """The cluster's verb: idempotent, exact, not in the configuration, and repaired by apply while it is held."""
    agent.write("")
    before = snapshot()
    add = ("overlay", "add", "192.168.10.10", "--device", "eth0")

    assert (0, 0) == (agent(*add), agent(*add))
    assert "" == agent.err
    assert "192.168.10.10/32 scope global eth0:1" in ip("address")
    ip("address del 192.168.10.10/32 dev eth0")
    assert (1, 0, 0) == (agent("status"), agent("apply"), agent("status"))

    assert (0, 0) == (agent("overlay", "del", "192.168.10.10"), agent("overlay", "del", "192.168.10.10/32"))
    assert before == snapshot()


def test_an_overlay_that_is_routed_to_an_eni_gets_its_rule(agent: Agent) -> None:
    """`from SUBNET` never covers it: it lies outside the VPC by definition."""
    before = snapshot()
    agent("apply")

    assert 0 == agent("overlay", "add", "192.168.10.20", "--device", "eth0", "--via", "eth1")
    assert "from 192.168.10.20 lookup 100 proto 236" in ip("-N rule")
    assert "eth0:2" in ip("address")
    assert 0 == agent("status")
    assert 0 == agent("overlay", "del", "192.168.10.20")
    assert "192.168.10.20" not in snapshot()
    agent("revert", "--all")
    assert before == snapshot()


def test_labels_are_chosen_once_and_kept(agent: Agent) -> None:
    """The next free DEVICE:N, never DEVICE:0, and the same at the next look."""
    ip("address add 192.168.99.1/32 dev eth1 label eth1:1")
    agent.write(BOTH_FAMILIES)
    agent("apply")

    assert "192.168.10.10/32 scope global eth1:2" in ip("address")
    assert 0 == agent("status")


def test_split_looks_in_the_vpc_first_then_in_main_then_goes_out(agent: Agent) -> None:
    """Both families; for each source its own three kinds of rule."""
    agent.write(SPLIT)
    agent.write(
        SPLIT.replace(
            'subnet = "10.0.1.0/24"', 'subnet = ["10.0.1.0/24", "fd00:0:0:1::/64"]\nrouter = ["10.0.1.1", "fe80::1"]'
        )
    )
    assert 0 == agent("apply")

    ours = [line.split(" proto 236")[0] for line in ip("rule").splitlines() if "proto 236" in line]
    assert [
        "23600:\tfrom 10.0.1.10 to 10.0.0.0/16 lookup 23601",
        "23600:\tfrom 10.0.1.10 to 10.9.0.0/16 lookup 23601",
        "23601:\tfrom 10.0.1.10 lookup main suppress_prefixlength 0",
        "23602:\tfrom 10.0.1.10 lookup 23601",
    ] == ours
    ip("link add br0 type bridge")
    ip("link set br0 up")
    ip("address add 172.17.0.1/16 dev br0")
    for target, device in (("172.17.0.2", "br0"), ("8.8.8.8", "eth1"), ("10.0.0.77", "eth1"), ("10.0.1.77", "eth1")):
        assert f"dev {device}" in ip("route get", target, "from 10.0.1.10")
    assert "dev eth1" in ip("-6 route get 2001:db8::1 from fd00:0:0:1::10")


def test_one_scheme_becomes_the_other_at_the_same_priority(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """And back, and undone when a later step fails: the kernel takes some rules for others (EEXIST)."""
    by_source = '[interface.eth1]\nsubnet = "10.0.1.0/24"\ntable = 100\npriority = 100\n'
    split = by_source + 'scheme = "split"\nvpc = ["10.0.0.0/16", "10.9.0.0/16"]\n'
    states = []
    for configuration in (by_source, split, by_source, split):
        agent.write(configuration)
        assert 0 == agent("apply"), agent.err
        assert 0 == agent("status")
        states.append(snapshot())
    assert states[:2] == states[2:]

    refusing(monkeypatch, "ip route add 10.50.0.0/16 via 10.0.1.7 dev eth1 table 100")
    for configuration in (by_source, split):
        agent.write(configuration + 'routes = ["10.50.0.0/16 via 10.0.1.7"]\n')
        before = snapshot()
        assert 4 == agent("apply")
        assert "Cannot allocate memory" in agent.err
        assert before == snapshot(), agent.err
        agent.write(configuration)
        assert 0 == agent("apply"), agent.err


@pytest.fixture
def open_agent(open_path: Path, capsys: pytest.CaptureFixture[str]) -> Agent:
    """The command with files that an ordinary user can read."""
    agent = Agent(open_path, capsys)
    agent.state.mkdir()
    agent.state.chmod(0o755)
    return agent


def test_without_root_one_line_says_so(open_agent: Agent) -> None:
    """The kernel's own words, exit code 4, nothing left behind. The directories are the user's own."""
    for directory in (open_agent.state, open_agent.names):
        os.chown(directory, 65534, 65534)
    before = snapshot()

    code, said = as_nobody(open_agent, "apply")

    assert 4 == code, said
    assert "Operation not permitted (needs root, or CAP_NET_ADMIN)" in said
    assert "Traceback" not in said
    assert before == snapshot()


def test_without_root_status_answers_all_the_same(open_agent: Agent) -> None:
    """Looking needs no privilege."""
    open_agent("apply")

    code, said = as_nobody(open_agent, "status")

    assert (0, "") == (code, said)


def as_nobody(agent: Agent, *words: str) -> tuple[int, str]:
    """Run the command in a child without privileges; its exit code and what it logged."""
    import_module("pyroute2.netlink.rtnl.fibmsg")  # the child may not be able to read where it is installed
    import_module("pyroute2.netlink.rtnl.ifaddrmsg")
    import_module("pyroute2.netlink.rtnl.rtmsg")

    log = agent.state / "log"
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            code = cli.main(agent.argv(*words))
            sys.stderr.flush()
            os._exit(code)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), log.read_text()


@pytest.mark.parametrize("name", ["a'b$(x)", 'q";x', "ä", "e\udcff1", "-x", "eth0.100"])
def test_an_odd_name_is_a_name(agent: Agent, name: str) -> None:
    """The kernel takes nearly any bytes: added, shown, and removed as under any other name."""
    if not name.isascii() and sys.getfilesystemencoding() != "utf-8":
        pytest.skip("needs a UTF-8 locale, as the agent does where a name is not ASCII")
    ip("link add", "odd0", "type veth peer name", "odd1")
    subprocess.run(["ip", "link", "set", "dev", "odd0", "name", name], check=True, timeout=30)
    subprocess.run(["ip", "link", "set", "dev", name, "up"], check=True, timeout=30)
    agent.write("")
    before = rules_and_addresses()

    assert 0 == agent("overlay", "add", "192.168.10.30", f"--device={name}", f"--label={name}:1")
    assert 0 == agent("status")
    assert 0 == agent("apply", "--overlay=192.168.10.31", f"--device={name}")
    assert before != rules_and_addresses()

    assert 0 == agent("revert", "--all")
    assert before == rules_and_addresses()


def rules_and_addresses() -> list[str]:
    kernel = NetlinkKernel()
    try:
        return [str(seen) for seen in kernel.observe().seen if not str(seen).startswith("fe80")]
    finally:
        kernel.close()
