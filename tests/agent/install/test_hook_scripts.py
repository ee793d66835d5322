"""The shell part of the hooks, run by every shell found, against a program that records its calls."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from ec2ident_agent.hook import EVENTS, PATIENCE
from ec2ident_agent.install import layout
from ec2ident_agent.install.layout import InstallRequest
from ec2ident_agent.install.rootfs import RootFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
}
#: Every script of a manager that is called with events, and the one that they all call.
SCRIPTS = (
    "hook",
    *sorted({row.source for name in {*EVENTS} - {"udev"} for row in layout.ROWS[name].rows if row.source}),
)

CONFIG = """\
# [interface.eth3] was here
  # and eth4
[interface.eth1]
table = 100
[interface."eth-5"]
[interface.service]
mac = "06:AA:00:00:00:02"
[[overlay]]
address = "192.168.10.10/32"
device = "eth0"
"""


class Node:
    """A node in a directory: configuration, journal, sysfs, and the hooks with their paths turned towards it."""

    def __init__(self, path: Path, shell: list[str]) -> None:
        self.path, self.shell = path, shell
        self.program = path / "a venv" / "ec2ident-agent"
        self.program.parent.mkdir()
        self.set_program("exit 0")
        self.config = path / "agent.toml"
        self.config.write_text(CONFIG)
        self.state = path / "state"
        self.state.mkdir()
        (self.state / "journal").write_text("ec2ident-journal 1\nservice\tconfig\t9\troute\teth7\nend\n")
        for name, mac in {
            "eth1": "06:00:00:00:00:01",
            "eth2": "06:aa:00:00:00:02",
            "eth6": "06:aa:00:00:00:22",
        }.items():
            (path / "sys" / name).mkdir(parents=True)
            (path / "sys" / name / "address").write_text(f"{mac}\n")
        request = InstallRequest(str(self.program), str(self.config), str(self.state))
        for name in SCRIPTS:
            text = layout.render(name, request, RootFs(str(path))).decode()
            text = text.replace(layout.HOOK, f'"{path}/hook"').replace("sys=/sys/class/net", f"sys='{path}/sys'")
            self.lay(name, text)

    def set_program(self, last: str) -> None:
        self.program.write_text(f'#!/bin/sh\necho "$*" >>"{self.path}/calls"\n{last}\n')
        self.program.chmod(0o755)

    def lay(self, name: str, text: str) -> Path:
        where = self.path / name
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text, encoding="utf-8", errors="surrogateescape")
        where.chmod(0o755)
        return where

    def run(self, script: str, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """With the environment that a manager gives, and nothing else."""
        environ = {"PATH": os.environ["PATH"], **environ}
        # The shared part is started by its own #! line; here it runs in the shell under test as well.
        (self.path / "hook").write_text((self.path / "hook").read_text().replace("#!/bin/sh\n", self.interpreter(), 1))
        return subprocess.run(
            [*self.shell, str(self.path / script), *argv], env=environ, capture_output=True, text=True, timeout=30
        )

    def interpreter(self) -> str:
        return f"#!{shutil.which(self.shell[0])} {' '.join(self.shell[1:])}".rstrip() + "\n"

    @property
    def calls(self) -> list[str]:
        """What the program was called with, without the options."""
        options = f"hook --config {self.config} --state-dir {self.state} "
        found = (self.path / "calls").read_text().splitlines() if (self.path / "calls").exists() else []
        assert all(line.startswith(options) for line in found)
        return [line[len(options) :] for line in found]


@pytest.fixture(params=sorted(SHELLS))
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Node:
    if not shutil.which(SHELLS[request.param][0]):
        pytest.skip(f"{request.param} is not installed")
    return Node(tmp_path, SHELLS[request.param])


@pytest.mark.parametrize("interface", ["eth1", "eth2", "eth0", "eth7", "eth-5"])
def test_our_interfaces_reach_the_program(node: Node, interface: str) -> None:
    """Named in the configuration, by its MAC in any case, as an overlay's device, or only in the journal."""
    assert 0 == node.run("hook", "networkmanager", interface, "up").returncode
    assert [f"networkmanager {interface} up"] == node.calls


@pytest.mark.parametrize(
    "interface",
    ["eth10", "eth11", "eth3", "eth4", "eth6", "docker0", "veth1@if2", "eth1.", "e.h1", "[e]th1", "-e", "*", "eth_5"],
)
def test_foreign_interfaces_pass_without_starting_the_program(node: Node, interface: str) -> None:
    """Near misses: a name that contains the agent's or is part of it, a comment, a MAC one digit away, a pattern."""
    done = node.run("hook", "networkmanager", interface, "up")

    assert (0, "", []) == (done.returncode, done.stderr, node.calls)


@pytest.mark.parametrize(("interface", "processes"), [("docker0", 1), ("eth3", 3), ("eth1", 3)])
def test_an_interface_that_no_file_names_costs_one_process(node: Node, interface: str, processes: int) -> None:
    """A container's veth comes and goes often. One that a comment names needs a closer look, as the agent's own do."""
    found = shutil.which("grep")
    node.lay("bin/grep", f'#!/bin/sh\necho >>"{node.path}/greps"\nexec {found} "$@"\n')

    done = node.run("hook", "networkmanager", interface, "up", PATH=f"{node.path}/bin:{os.environ['PATH']}")

    assert (0, "") == (done.returncode, done.stderr)
    assert processes == len((node.path / "greps").read_text().splitlines())
    assert (interface == "eth1") == bool(node.calls)


@pytest.mark.parametrize(("event", "reaches"), [("configured", True), ("routable", False), ("off", False)])
def test_a_foreign_interface_that_networkd_configured_reaches_the_program(
    node: Node, event: str, reaches: bool
) -> None:
    """networkd has deleted the rules of all interfaces by then. A container's link gets to routable alone."""
    calls = [f"networkd-dispatcher eth10 {event}"] if reaches else []
    assert 0 == node.run("networkd-dispatcher", IFACE="eth10", STATE=event).returncode
    assert calls == node.calls

    (node.state / "journal").unlink()
    assert 0 == node.run("networkd-dispatcher", IFACE="eth10", STATE=event).returncode
    assert calls == node.calls  # nothing is applied, so nothing can be lost
    assert 0 == node.run("networkd-dispatcher", IFACE="eth1", STATE=event).returncode
    assert [*calls, f"networkd-dispatcher eth1 {event}"] == node.calls


@pytest.mark.parametrize("interface", ["eth", "ETH1", "table"])
def test_in_doubt_the_program_decides(node: Node, interface: str) -> None:
    """The shell looks for a word, without knowing TOML: eth is a word of eth-5. A start too many costs milliseconds."""
    assert 0 == node.run("hook", "networkmanager", interface, "up").returncode
    assert [f"networkmanager {interface} up"] == node.calls


@pytest.mark.parametrize("interface", ["", "none", "--all", "lo", "eth0:1", "eth1:ec2", "../eth1"])
def test_what_is_not_an_interface_of_the_agents_passes(node: Node, interface: str) -> None:
    """NetworkManager says none and nothing at all, ifup -a says --all, network-scripts name aliases."""
    node.config.write_text('[interface.lo]\nnone = 1\neth0:1 = "--all"\n')

    assert 0 == node.run("hook", "ifupdown", interface, "if-up.d").returncode
    assert [] == node.calls


def test_without_configuration_and_journal_everything_passes(node: Node) -> None:
    """A node on which nothing is configured yet, or nothing any more."""
    node.config.unlink()
    shutil.rmtree(node.state)

    done = node.run("hook", "networkmanager", "eth1", "up")

    assert (0, "", []) == (done.returncode, done.stderr, node.calls)


def test_a_program_that_has_vanished_is_passed_over_in_silence(node: Node) -> None:
    """The package was removed and the hooks stayed."""
    node.program.unlink()

    done = node.run("hook", "networkmanager", "eth1", "up")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("end", ["exit 4", "kill -9 $$", "exec /nowhere/at/all"])
def test_a_failing_hook_never_breaks_the_ifup(node: Node, end: str) -> None:
    """ifup fails when a script does, and then does not even bring up the next family."""
    node.set_program(end)

    assert 0 == node.run("hook", "networkmanager", "eth1", "up").returncode
    assert ["networkmanager eth1 up"] == node.calls


@pytest.mark.parametrize(("end", "late"), [("kill -ALRM $$", True), ("kill -9 $$", False), ("exit 14", False)])
def test_a_hook_that_took_too_long_is_said_to_have(node: Node, end: str, late: bool) -> None:
    """On a busy machine the program ends itself by SIGALRM; `exit code 142` tells no administrator that."""
    node.set_program(end)

    done = node.run("hook", "networkmanager", "eth1", "up")

    said = f"ec2ident-agent: hook networkmanager eth1 up: not done within {PATIENCE} s, as on a busy machine; "
    assert (0, late) == (done.returncode, said in done.stderr)


def test_the_caller_s_python_is_none_of_its_business(node: Node) -> None:
    """An administrator's shell: another path, or a prompt when the program is done."""
    node.set_program(f"env >'{node.path}/environment'")
    ours = {"PYTHONPATH": "/home/me", "PYTHONINSPECT": "1", "PYTHONHOME": "/usr", "PYTHONWARNINGS": "error"}
    node.run("hook", "ifupdown", "eth1", "if-up.d", **ours)

    assert ["ifupdown eth1 if-up.d"] == node.calls
    assert "PYTHON" not in (node.path / "environment").read_text()


def test_results_do_not_reach_the_manager_s_standard_output(node: Node) -> None:
    """Some managers read what a script prints; a log belongs on stderr, from where it comes into the journal."""
    node.set_program("echo result; echo log >&2")

    done = node.run("hook", "networkmanager", "eth1", "up")

    assert ("", "result\nlog\n") == (done.stdout, done.stderr)


# ---- each manager's own script


def test_ifupdown_says_which_directory_called(node: Node) -> None:
    """Up, down before the link goes, and down after it; run-parts calls by the whole path."""
    text = (node.path / "ifupdown").read_text()
    for directory in ("if-up.d", "if-down.d", "if-post-down.d"):
        node.lay(f"{directory}/ec2ident", text)
        done = node.run(f"{directory}/ec2ident", IFACE="eth1", MODE="start", PHASE="post-up", ADDRFAM="inet")
        assert 0 == done.returncode

    assert ["ifupdown eth1 if-up.d", "ifupdown eth1 if-down.d", "ifupdown eth1 if-post-down.d"] == node.calls


def test_ifupdown_s_scripts_leave_networkmanager_s_events_to_its_own_hook(node: Node) -> None:
    """Debian's NetworkManager runs if-up.d as well. Where its own hook is not installed, this is the only call."""
    dispatcher = node.path / "90-ec2ident"
    text = (
        (node.path / "ifupdown").read_text().replace("/etc/NetworkManager/dispatcher.d/90-ec2ident", f"'{dispatcher}'")
    )
    node.lay("if-up.d/ec2ident", text)

    node.run("if-up.d/ec2ident", IFACE="eth1", METHOD="NetworkManager", ADDRFAM="inet")
    assert ["ifupdown eth1 if-up.d"] == node.calls

    node.lay("90-ec2ident", "#!/bin/sh\n")
    node.run("if-up.d/ec2ident", IFACE="eth1", METHOD="NetworkManager", ADDRFAM="inet")
    assert ["ifupdown eth1 if-up.d"] == node.calls
    node.run("if-up.d/ec2ident", IFACE="eth1", METHOD="static", ADDRFAM="inet")
    assert ["ifupdown eth1 if-up.d"] * 2 == node.calls


@pytest.mark.parametrize("comm", ["ifup", "ifdown"])
def test_ifupdown_calls_once_for_an_interface_and_not_for_each_family(node: Node, comm: str) -> None:
    """Both families' calls come from one process; the next ifup is another one. Foreign interfaces leave no trace."""
    node.lay("if-up.d/ec2ident", (node.path / "ifupdown").read_text())
    # A script's process is named after its file, which is what ifup's grandchildren find above them.
    ifup = node.lay(
        f"bin/{comm}",
        "#!/bin/sh\n"
        f"for family in inet inet6; do for IFACE in eth1 eth9; do export IFACE ADDRFAM=$family;"
        f" sh -c '\"{node.path}/if-up.d/ec2ident\"; :'; done; done\n",
    )
    node.run("ifupdown")
    for _ in range(2):
        subprocess.run([str(ifup)], check=True, timeout=30)

    assert ["ifupdown eth1 if-up.d"] * 2 == node.calls
    assert ["eth1:if-up.d"] == os.listdir(node.state / "ifupdown")


def test_a_state_directory_that_a_hook_makes_is_for_all_users_to_read(node: Node) -> None:
    """At boot ifup may come first; an ordinary user's status needs the journal later."""
    shutil.rmtree(node.state)
    ifup = node.lay("bin/ifup", f"#!/bin/sh\nsh -c '\"{node.path}/ifupdown\"; :'\n")
    node.run("ifupdown")
    subprocess.run([str(ifup)], env={**os.environ, "IFACE": "eth1"}, check=True, timeout=30)

    assert ["ifupdown"] == os.listdir(node.state)
    assert 0o755 == node.state.stat().st_mode & 0o777


@pytest.mark.parametrize("action", ["up", "down", "pre-down", "reapply", "dhcp4-change", "dhcp6-change"])
def test_networkmanager_passes_its_actions_on(node: Node, action: str) -> None:
    """First argument the interface, second the action."""
    assert 0 == node.run("networkmanager", "eth1", action, CONNECTION_ID="x").returncode
    assert [f"networkmanager eth1 {action}"] == node.calls


@pytest.mark.parametrize(
    "argv", [("eth1", "pre-up"), ("eth1", "vpn-up"), ("none", "hostname"), ("", "connectivity-change"), ("eth1",), ()]
)
def test_networkmanager_s_other_actions_start_nothing(node: Node, argv: tuple[str, ...]) -> None:
    """hostname is about no interface, pre-up comes before there is anything to do."""
    done = node.run("networkmanager", *argv)

    assert (0, "", []) == (done.returncode, done.stderr, node.calls)


def test_networkd_dispatcher_says_the_state(node: Node) -> None:
    """Everything comes in the environment."""
    assert 0 == node.run("networkd-dispatcher", IFACE="eth1", STATE="configured", ADDR="fe80::1").returncode
    assert ["networkd-dispatcher eth1 configured"] == node.calls


@pytest.mark.parametrize(
    ("where", "argv", "expected"),
    [
        # wicked, compat:suse:NAME and a whole directory of scripts
        ("scripts", ("eth1", "eth1", "-o", "post-up"), ["sysconfig eth1 post-up"]),
        ("scripts", ("eth1", "eth1", "-o", "post-down"), ["sysconfig eth1 post-down"]),
        ("if-up.d", ("eth1", "eth1", "-o", "pre-down"), ["sysconfig eth1 pre-down"]),
        # sysconfig's own ifup, with its own options
        ("if-up.d", ("eth1", "eth1"), ["sysconfig eth1 if-up.d"]),
        ("if-down.d", ("eth1", "eth1", "-o", "rc", "debug"), ["sysconfig eth1 if-down.d"]),
        ("if-up.d", ("eth-id-06:00:00:00:00:01", "eth1"), ["sysconfig eth1 if-up.d"]),
        # another interface, which has its own link or none
        ("if-up.d", ("eth2", "eth2"), []),
        ("if-up.d", ("eth10", "eth10"), []),
        ("if-up.d", (), []),
    ],
)
def test_suse_s_layout_is_about_the_interface_in_its_name(
    node: Node, where: str, argv: tuple[str, ...], expected: list[str]
) -> None:
    """ec2ident.eth1 lies in scripts, with links in if-up.d and if-down.d: the link's directory is the event."""
    node.lay("scripts/ec2ident.eth1", (node.path / "sysconfig").read_text())
    for directory in ("if-up.d", "if-down.d"):
        (node.path / directory).mkdir()
        (node.path / directory / "ec2ident.eth1").symlink_to("../scripts/ec2ident.eth1")

    done = node.run(f"{where}/ec2ident.eth1", *argv)

    assert (0, expected) == (done.returncode, node.calls)


def test_suse_s_script_takes_the_interface_from_the_environment_too(node: Node) -> None:
    """wicked exports INTERFACE and CONFIG besides its arguments."""
    node.lay("if-up.d/ec2ident", (node.path / "sysconfig").read_text())

    node.run("if-up.d/ec2ident", INTERFACE="eth1", CONFIG="eth1")

    assert ["sysconfig eth1 if-up.d"] == node.calls


@pytest.mark.parametrize(("name", "event"), [("ifup-local", "up"), ("ifdown-local", "down")])
def test_network_scripts_call_one_file_for_each_direction(node: Node, name: str, event: str) -> None:
    """The device is the argument; an alias is not an interface."""
    node.lay(f"sbin/{name}", (node.path / "ifup-local").read_text())

    node.run(f"sbin/{name}", "eth1")
    node.run(f"sbin/{name}", "eth1:1")
    node.run(f"sbin/{name}", "eth9")

    assert [f"network-scripts eth1 {event}"] == node.calls


def test_dhclient_s_own_script_goes_on_after_the_hook(node: Node) -> None:
    """dhclient-script reads the hook into its own shell, with variables that are not exported."""
    node.set_program("exit 4")
    node.lay("dhclient-script", f"interface=eth1 reason=BOUND exit_status=0\n. '{node.path}/dhclient'\necho goes on\n")

    done = node.run("dhclient-script")

    assert (0, "goes on\n", ["dhclient eth1 BOUND"]) == (done.returncode, done.stdout, node.calls)


# ---- the text itself


@pytest.mark.parametrize("script", [*SCRIPTS, "keepalived/notify", "ocf/overlay", "ocf/eni", "ocf/dns"])
def test_every_script_is_plain_posix_shell(tmp_path: Path, script: str) -> None:
    """shellcheck finds nothing, for a program in a directory with a space."""
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    path = tmp_path / "script"
    path.write_bytes(layout.render(script, InstallRequest("/opt/a venv/bin/ec2ident-agent"), RootFs(str(tmp_path))))

    done = subprocess.run(["shellcheck", "--shell=sh", str(path)], capture_output=True, text=True, timeout=60)

    assert "" == done.stdout


@pytest.mark.parametrize("odd", ["$(touch pwned)", "a;b", "`x`", "%n", "a b", "*", "ünï", "@HOOK@"])
def test_a_program_s_odd_path_stays_one_word(tmp_path: Path, odd: str) -> None:
    """Rendered once, quoted for the shell: nothing in a path is expanded, not even our own placeholders."""
    node = Node(tmp_path, ["sh"])
    directory = tmp_path / os.fsdecode(odd.encode())  # the same bytes in every locale
    directory.mkdir()
    moved = node.program.rename(directory / "ec2ident-agent")
    request = InstallRequest(str(moved), str(node.config), str(node.state))
    node.lay("hook", layout.render("hook", request, RootFs(str(tmp_path))).decode())

    assert 0 == subprocess.run([str(tmp_path / "hook"), "udev", "eth1", "add"], cwd=tmp_path, timeout=30).returncode
    assert ["udev eth1 add"] == node.calls
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["journal", "suppressed", "anything"])
def test_a_pipe_in_the_state_directory_hangs_no_hook(node: Node, name: str) -> None:
    """Situation: a pipe in the state directory. grep opened every file there, and an ifup waited for ever."""
    (node.state / name).unlink(missing_ok=True)
    os.mkfifo(node.state / name)

    assert 0 == node.run("hook", "networkmanager", "eth9", "up").returncode
    assert 0 == node.run("hook", "networkmanager", "eth1", "up").returncode
    assert ["networkmanager eth1 up"] == node.calls


def test_a_configuration_that_is_a_pipe_hangs_no_hook(node: Node) -> None:
    """Only the journal names an interface then."""
    node.config.unlink()
    os.mkfifo(node.config)

    assert 0 == node.run("hook", "networkmanager", "eth7", "up").returncode
    assert ["networkmanager eth7 up"] == node.calls
