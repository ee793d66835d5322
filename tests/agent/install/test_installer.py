"""What install adds and uninstall removes, in trees that look like four distributions."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent import cli
from ec2ident_agent.doctor.fix import fix, unfix
from ec2ident_agent.doctor.threats.node_view import DropIn
from ec2ident_agent.errors import AgentError, ConfigError, RefusedError
from ec2ident_agent.install import installer as installer
from ec2ident_agent.install import layout
from ec2ident_agent.install.installer import find_program, install, uninstall
from ec2ident_agent.install.layout import InstallRequest, detect
from ec2ident_agent.install.manifest import MANIFEST
from ec2ident_agent.install.rootfs import RootFs
from tests.agent import ordinary_user
from tests.lab.modes import umask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Union

    Node = tuple[Union[str, int, bytes], ...]
    Act = Callable[[RootFs], object]

REQUEST = InstallRequest("/opt/ec2ident/bin/ec2ident-agent")
NEWER = InstallRequest("/opt/ec2ident-2/bin/ec2ident-agent")

#: Directories end in a slash, links have a target, everything else is a file of another program.
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "debian": (
        "etc/network/if-up.d/mountnfs",
        "etc/network/if-down.d/",
        "etc/network/interfaces",
        "etc/dhcp/dhclient-exit-hooks.d/timesyncd",
        "etc/NetworkManager/dispatcher.d/no-wait.d/",
        "etc/networkd-dispatcher/routable.d/50-ifup-hooks",
        "etc/iproute2/rt_protos",
        "etc/iproute2/rt_protos.d/README",
        "etc/iproute2/rt_tables.d/README",
        "etc/udev/rules.d/70-persistent-net.rules",
        "etc/systemd/system/multi-user.target.wants/",
        "usr/lib/systemd/system/ssh.service",
        "usr/bin/systemd-escape",
        "lib -> usr/lib",
        "bin -> usr/bin",
        "sbin -> usr/sbin",
        "usr/sbin/ifup",
    ),
    "rhel7": (
        "etc/sysconfig/network",
        "etc/sysconfig/network-scripts/ifup-post",
        "etc/iproute2/rt_protos",
        "usr/lib/systemd/system/sshd.service",
        "usr/bin/systemd-escape",
        "sbin -> /usr/sbin",
        "usr/sbin/ifup-eth",
    ),
    "sles": (
        "etc/sysconfig/network/scripts/functions",
        "etc/sysconfig/network/ifcfg-eth0",
        "etc/wicked/common.xml",
        "usr/sbin/wicked",
        "usr/lib/systemd/system/wicked.service",
    ),
    "al2023": (
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "etc/systemd/system/dbus-org.freedesktop.network1.service -> /usr/lib/systemd/system/systemd-networkd.service",
        "usr/lib/systemd/system/systemd-networkd.service",
        "usr/share/iproute2/rt_protos",
        "usr/bin/systemd-escape",
    ),
    "alpine": ("etc/network/interfaces", "etc/network/if-up.d/", "sbin/ifquery"),
    "bare": ("etc/",),
}


@umask()
def make(root: Path, distribution: str) -> RootFs:
    for line in DISTRIBUTIONS[distribution]:
        name, _, target = line.partition(" -> ")
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if target:
            path.symlink_to(target)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(f"another program's {name}\n")
    return RootFs(str(root))


@pytest.fixture(params=sorted(DISTRIBUTIONS))
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> RootFs:
    return make(tmp_path / "root", request.param)


@pytest.fixture
def debian(tmp_path: Path) -> RootFs:
    return make(tmp_path / "root", "debian")


def snapshot(tree: RootFs) -> dict[str, Node]:
    """Every path with its kind, mode and content. Not its times: a directory in which we were has been touched."""
    found: dict[str, Node] = {}
    for directory, directories, files in os.walk(tree.root):
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                seen: Node = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                seen = ("directory", mode)
            else:
                with open(path, "rb") as file:
                    seen = ("file", mode, file.read())
            found[os.path.relpath(path, tree.root)] = seen
    return found


def times(tree: RootFs) -> dict[str, int]:
    return {path: os.lstat(os.path.join(tree.root, path)).st_mtime_ns for path in snapshot(tree)}


def inside(tree: RootFs, path: str) -> str:
    return os.path.join(tree.root, path.lstrip("/"))


def read(tree: RootFs, path: str) -> str:
    with open(inside(tree, path), encoding="utf-8") as file:
        return file.read()


def write(tree: RootFs, path: str, text: str, mode: int = 0o755) -> None:
    os.makedirs(os.path.dirname(inside(tree, path)), exist_ok=True)
    with open(inside(tree, path), "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(inside(tree, path), mode)


# ---- there and back


def test_uninstall_leaves_the_tree_as_it_was(tree: RootFs) -> None:
    """Every path, mode, link and byte: directories that were made are gone, and the files of all others are there."""
    before = snapshot(tree)

    install(tree, REQUEST)
    assert before.items() < snapshot(tree).items()
    uninstall(tree)

    assert before == snapshot(tree)


def test_install_twice_changes_nothing(tree: RootFs) -> None:
    """Not even a time stamp."""
    install(tree, REQUEST)
    before = times(tree)

    plan = install(tree, REQUEST)

    assert () == plan.steps
    assert before == times(tree)


def test_uninstall_twice_is_once(tree: RootFs) -> None:
    """The second finds no manifest and has nothing to say."""
    install(tree, REQUEST)
    uninstall(tree)

    assert installer.Plan() == uninstall(tree)


def test_uninstall_of_what_was_never_installed_does_nothing(tree: RootFs) -> None:
    """What looks like the agent's and is in no manifest is not the agent's."""
    write(tree, layout.HOOK, "#!/bin/sh\n")
    before = snapshot(tree)

    assert installer.Plan() == uninstall(tree)
    assert before == snapshot(tree)


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_dry_run_says_exactly_what_is_done_and_does_nothing(tree: RootFs, verb: str) -> None:
    """The same steps, in the same order, as the run that follows."""
    if verb == "uninstall":
        install(tree, REQUEST)
    before = snapshot(tree)

    def run(dry: bool) -> installer.Plan:
        return install(tree, REQUEST, dry_run=dry) if verb == "install" else uninstall(tree, dry_run=dry)

    plan = run(True)

    assert before == snapshot(tree)
    assert plan == run(False)
    assert plan.steps


def test_a_dry_run_is_commands_that_one_could_type(debian: RootFs) -> None:
    """Parents first, the manifest before everything, and each path as the system sees it."""
    lines = [str(step) for step in install(debian, REQUEST, dry_run=True).steps]

    assert [
        "mkdir -m 0755 /etc/.ec2ident.new",
        "install -m 0644 /dev/stdin /etc/.ec2ident.new/manifest.json",
        "mv /etc/.ec2ident.new /etc/ec2ident",
        "install -m 0755 /dev/stdin /etc/ec2ident/hook",
        "install -m 0755 /dev/stdin /etc/ec2ident/uninstall",
        "install -m 0644 /dev/stdin /etc/ec2ident/agent.toml",
        "install -m 0644 /dev/stdin /etc/iproute2/rt_protos.d/ec2ident.conf",
        "install -m 0755 /dev/stdin /etc/network/if-up.d/ec2ident",
        "install -m 0755 /dev/stdin /etc/network/if-down.d/ec2ident",
        "mkdir -m 0755 /etc/network/if-post-down.d",
        "install -m 0755 /dev/stdin /etc/network/if-post-down.d/ec2ident",
    ] == lines[:11]


# ---- what goes where


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("debian", ("ifupdown", "networkmanager", "networkd-dispatcher", "dhclient", "systemd", "udev")),
        ("rhel7", ("network-scripts", "systemd", "udev")),
        ("sles", ("sysconfig", "wicked", "systemd")),
        ("al2023", ("systemd", "udev", "networkd")),
        ("alpine", ("ifupdown",)),
        ("bare", ()),
    ],
)
def test_the_managers_of_a_node_are_found(tmp_path: Path, distribution: str, expected: tuple[str, ...]) -> None:
    """By the files that they bring. /etc/sysconfig/network is a file on RHEL, where SLES has a directory."""
    assert ("always", *expected) == detect(make(tmp_path, distribution))


def test_a_manager_that_is_not_there_yet_can_be_named(tmp_path: Path) -> None:
    """An image may get its network manager after us."""
    tree = make(tmp_path, "bare")

    install(tree, InstallRequest(REQUEST.program, extras=("networkmanager",)))

    assert "etc/NetworkManager/dispatcher.d/90-ec2ident" in snapshot(tree)


def test_files_are_what_their_readers_trust_whatever_the_umask(debian: RootFs) -> None:
    """networkd-dispatcher wants 0755 exactly, for directories too; NetworkManager nothing that others can write."""
    with umask(0o077):
        install(debian, REQUEST)
    seen = snapshot(debian)

    for state in ("routable", "configured", "off", "linger"):
        assert ("directory", 0o755) == seen[f"etc/networkd-dispatcher/{state}.d"]
        assert ("file", 0o755) == seen[f"etc/networkd-dispatcher/{state}.d/90-ec2ident"][:2]
    for path in ("90-ec2ident", "pre-down.d/90-ec2ident"):
        assert ("file", 0o755) == seen[f"etc/NetworkManager/dispatcher.d/{path}"][:2]
    assert ("file", 0o644) == seen["etc/ec2ident/agent.toml"][:2]
    for directory in ("if-up.d", "if-down.d", "if-post-down.d"):
        # run-parts(8) passes over names with a dot.
        assert ("file", 0o755) == seen[f"etc/network/{directory}/ec2ident"][:2]


def test_suse_s_scripts_have_names_of_our_own(tmp_path: Path) -> None:
    """/etc/sysconfig/network/scripts/ec2ident.eth1, and a link to it in if-up.d and in if-down.d."""
    tree = make(tmp_path, "sles")

    plan = install(tree, REQUEST)
    seen = snapshot(tree)
    told = (
        "wicked calls only the scripts that an interface names: in /etc/sysconfig/network/ifcfg-eth1 set POST_UP_SCRIPT"
        ' and POST_DOWN_SCRIPT to "compat:suse:ec2ident.eth1"'
    )

    assert ("file", 0o755) == seen["etc/sysconfig/network/scripts/ec2ident.eth1"][:2]
    for directory in ("if-up.d", "if-down.d"):
        assert ("link", "../scripts/ec2ident.eth1") == seen[f"etc/sysconfig/network/{directory}/ec2ident.eth1"]
    assert told in plan.notes


def test_the_distribution_s_protocol_names_stay_in_force(tree: RootFs) -> None:
    """A file rt_protos or rt_tables in /etc would hide the one in /usr: only a line of our own in rt_protos.d."""
    before = snapshot(tree)

    install(tree, REQUEST)
    new = set(snapshot(tree)) - set(before)

    assert {"etc/iproute2/rt_protos", "etc/iproute2/rt_tables"}.isdisjoint(new)
    lines = [line for line in read(tree, "etc/iproute2/rt_protos.d/ec2ident.conf").splitlines() if line[0] != "#"]
    # pyroute2 splits each line into exactly two words, and fails for the whole node if there are more.
    assert [["236", "ec2ident"]] == [line.split() for line in lines]


def test_networkd_alone_is_told_who_repairs(tmp_path: Path) -> None:
    """systemd-networkd has no hooks of its own; with networkd-dispatcher there is nothing to say."""

    def told(*more: str) -> list[str]:
        tree = make(tmp_path / str(len(more)), "al2023")
        for path in more:
            os.makedirs(inside(tree, path))
        return [note for note in install(tree, REQUEST).notes if "networkd" in note]

    assert 1 == len(told())
    assert [] == told("etc/networkd-dispatcher")


def test_a_directory_that_networkd_dispatcher_does_not_trust_is_named(debian: RootFs) -> None:
    """It skips what others can write, with only a line in the journal; the agent must not change its mode."""
    os.chmod(inside(debian, "etc/networkd-dispatcher/routable.d"), 0o775)

    assert (
        "/etc/networkd-dispatcher/routable.d: mode 0775: networkd-dispatcher runs nothing in it;"
        " chmod 0755 /etc/networkd-dispatcher/routable.d"
    ) in install(debian, REQUEST).notes


def test_the_unit_escapes_with_the_tool_that_is_there(tmp_path: Path) -> None:
    """udev takes an absolute path; before /usr was merged the tool was in /bin."""
    tree = make(tmp_path, "al2023")
    os.rename(inside(tree, "usr/bin"), inside(tree, "bin"))

    install(tree, REQUEST)

    assert 'PROGRAM="/bin/systemd-escape ' in read(tree, "etc/udev/rules.d/90-ec2ident.rules")


@pytest.mark.parametrize("unit", ["ec2ident-agent.service", "ec2ident-agent-watch.service", "ec2ident-agent@.service"])
def test_units_have_one_capability_and_a_read_only_system(debian: RootFs, unit: str) -> None:
    """Changing the network takes CAP_NET_ADMIN; /etc is written for table names alone, /run for the journal."""
    install(debian, REQUEST)
    lines = read(debian, f"etc/systemd/system/{unit}").splitlines()

    assert {
        "CapabilityBoundingSet=CAP_NET_ADMIN",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "RuntimeDirectory=ec2ident",
        "RuntimeDirectoryPreserve=yes",
        "ReadWritePaths=-/etc/iproute2/rt_tables.d",
    } <= set(lines)
    assert not any("@HARDENING@" in line or "@PROGRAM" in line for line in lines)


def test_a_state_directory_of_one_s_own_is_made_where_the_unit_may_write(debian: RootFs) -> None:
    """Under /run it is gone with each boot, and a read-only system has no place for another."""
    text = layout.render(
        "ec2ident-agent.service", InstallRequest(REQUEST.program, state="/run/my $state"), debian
    ).decode()

    assert {
        'ExecStartPre=+/bin/mkdir -p "/run/my $$state"',
        'ReadWritePaths=-"/run/my $state"',
    } <= set(text.splitlines())


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """Its own checker says nothing of them, for a program with a path that has a space, a dollar and a percent sign."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    program = tmp_path / "my $HOME %n" / "ec2ident-agent"
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    request = InstallRequest(str(program), config="/etc/a b/$x.toml", state="/run/else where")
    tree = make(tmp_path / "root", "debian")
    units = []
    for name in ("ec2ident-agent.service", "ec2ident-agent-watch.service", "ec2ident-agent@.service"):
        text = layout.render(name, request, tree).decode().replace(layout.HOOK, "/bin/true")
        units.append(tmp_path / name.replace("@", "@eth1"))
        units[-1].write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, timeout=60
    )

    assert "" == "\n".join(line for line in done.stderr.splitlines() if "ec2ident" in line or str(tmp_path) in line)


def test_systemd_counts_the_units_among_the_well_hardened(debian: RootFs, tmp_path: Path) -> None:
    """Its exposure is 0 for nothing at all and 10 for everything: at most 2.5 here, mostly the network."""
    analyze = ["systemd-analyze", "security", "--offline=yes", "--threshold=25"]
    if not shutil.which("systemd-analyze") or "--threshold" not in _output("systemd-analyze", "--help"):
        pytest.skip("needs systemd-analyze of systemd 250 or later")
    units = ["ec2ident-agent.service", "ec2ident-agent-watch.service", "ec2ident-agent@.service"]
    for name in units:
        (tmp_path / name).write_bytes(layout.render(name, InstallRequest("/bin/true"), debian))

    for name in units:
        done = subprocess.run([*analyze, str(tmp_path / name)], capture_output=True, encoding="utf-8", timeout=60)
        assert 0 == done.returncode, done.stdout


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout


# ---- what is not the agent's


def test_an_existing_configuration_is_neither_overwritten_nor_removed(tree: RootFs) -> None:
    """Nor is there anything to say about it: that is how it should be."""
    write(tree, layout.CONFIG, "[interface.eth1]\n", 0o600)
    before = snapshot(tree)

    plan = install(tree, REQUEST)
    assert [] == [note for note in plan.notes if layout.CONFIG in note]
    uninstall(tree)

    assert before == snapshot(tree)


def test_a_sample_that_became_the_configuration_stays(debian: RootFs) -> None:
    """An upgrade leaves it alone without a word; an uninstall leaves it, and says so."""
    install(debian, REQUEST)
    write(debian, layout.CONFIG, "[interface.eth1]\n", 0o644)

    assert [] == [note for note in install(debian, NEWER).notes if layout.CONFIG in note]
    notes = uninstall(debian).notes

    assert "[interface.eth1]\n" == read(debian, layout.CONFIG)
    assert (f"{layout.CONFIG}: kept, changed since it was installed", f"{layout.HOME}: kept, not empty") == notes


def test_an_administrator_s_ifup_local_is_kept_and_the_line_to_add_is_told(tmp_path: Path) -> None:
    """There is one such file for the whole node."""
    tree = make(tmp_path, "rhel7")
    write(tree, "usr/sbin/ifup-local", "#!/bin/sh\nethtool -K $1 tso off\n")
    before = snapshot(tree)

    plan = install(tree, REQUEST)

    assert not plan.refused
    assert (
        "/sbin/ifup-local: not installed by ec2ident-agent, not changed; add the line  [ ! -x /etc/ec2ident/hook ] ||"
        ' /etc/ec2ident/hook network-scripts "$1" up'
    ) in plan.notes
    assert "usr/sbin/ifdown-local" in snapshot(tree)
    uninstall(tree)
    assert before == snapshot(tree)


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory", "pipe"])
def test_whatever_else_is_in_our_place_is_refused_and_survives(debian: RootFs, kind: str) -> None:
    """A link is not followed: what it points at is not the agent's either."""
    path = inside(debian, "etc/network/if-up.d/ec2ident")
    write(debian, "etc/passwd", "root:x:0:0\n")
    if kind == "file":
        write(debian, "etc/network/if-up.d/ec2ident", "#!/bin/sh\n")
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        os.symlink("../../passwd" if kind == "link" else "/nowhere", path)

    plan = install(debian, REQUEST)

    assert plan.refused
    assert (
        "/etc/network/if-up.d/ec2ident: not installed by ec2ident-agent, not changed; move it away and install again"
        in plan.notes
    )
    assert "root:x:0:0\n" == read(debian, "etc/passwd")
    uninstall(debian)
    assert os.path.lexists(path)


def test_what_is_byte_equal_and_was_there_before_is_not_the_agents(debian: RootFs, tmp_path: Path) -> None:
    """A distribution's package may have added it; it stays when the agent goes."""
    other = make(tmp_path / "other", "debian")
    install(other, REQUEST)
    write(debian, layout.HOOK, read(other, layout.HOOK))
    before = snapshot(debian)

    assert not install(debian, REQUEST).refused
    uninstall(debian)

    assert before == snapshot(debian)


def test_files_that_the_administrator_changed_are_kept_and_named(debian: RootFs) -> None:
    """Content or mode: an upgrade leaves them as they are. What has only another mode goes with the uninstall."""
    changed, disabled = "/etc/network/if-up.d/ec2ident", "/etc/NetworkManager/dispatcher.d/90-ec2ident"
    install(debian, REQUEST)
    write(debian, changed, "#!/bin/sh\n# mine\n")
    os.chmod(inside(debian, disabled), 0o644)

    notes = install(debian, NEWER).notes
    assert {f"{path}: kept, changed since it was installed" for path in (changed, disabled)} <= set(notes)
    assert 0o644 == stat.S_IMODE(os.lstat(inside(debian, disabled)).st_mode)

    assert (f"{changed}: kept, changed since it was installed",) == uninstall(debian).notes
    assert "#!/bin/sh\n# mine\n" == read(debian, changed)
    assert not os.path.exists(inside(debian, disabled))


def test_a_directory_of_the_agents_with_a_foreign_file_in_it_stays(debian: RootFs) -> None:
    """It is not empty; so it is named."""
    install(debian, REQUEST)
    write(debian, "etc/networkd-dispatcher/off.d/mine", "")

    assert ("/etc/networkd-dispatcher/off.d: kept, not empty",) == uninstall(debian).notes
    assert "" == read(debian, "etc/networkd-dispatcher/off.d/mine")


# ---- upgrades


def test_an_upgrade_replaces_what_an_older_version_installed(debian: RootFs, tmp_path: Path) -> None:
    """Afterwards the tree is what a first install of the newer one makes, and still goes away without a trace."""
    before = snapshot(debian)
    fresh = make(tmp_path / "fresh", "debian")
    install(fresh, NEWER)

    install(debian, REQUEST)
    install(debian, NEWER)

    assert snapshot(fresh) == snapshot(debian)
    assert () == install(debian, NEWER).steps
    uninstall(debian)
    assert before == snapshot(debian)


def test_what_is_not_installed_any_more_is_removed_by_the_upgrade(debian: RootFs, tmp_path: Path) -> None:
    """An interface that left the configuration, a manager that left the node."""
    install(debian, InstallRequest(REQUEST.program, interfaces=("eth1", "eth2"), extras=("sysconfig",)))
    for name in ("eth1", "eth2"):
        assert f"etc/sysconfig/network/scripts/ec2ident.{name}" in snapshot(debian)

    install(debian, InstallRequest(REQUEST.program, interfaces=("eth2",), extras=("sysconfig",)))
    assert "etc/sysconfig/network/scripts/ec2ident.eth1" not in snapshot(debian)
    assert "etc/sysconfig/network/scripts/ec2ident.eth2" in snapshot(debian)

    install(debian, REQUEST)
    fresh = make(tmp_path / "fresh", "debian")
    install(fresh, REQUEST)
    assert snapshot(fresh) == snapshot(debian)


def test_a_file_that_the_administrator_removed_is_installed_again(debian: RootFs) -> None:
    """Install means that it is there. To switch a hook off, take its x bit."""
    install(debian, REQUEST)
    os.unlink(inside(debian, "etc/network/if-up.d/ec2ident"))

    assert ["install -m 0755 /dev/stdin /etc/network/if-up.d/ec2ident"] == [
        str(step) for step in install(debian, REQUEST).steps if "manifest" not in str(step)
    ]


def test_a_unit_that_the_administrator_disabled_stays_disabled(debian: RootFs) -> None:
    """An upgrade enables nothing again, and says so; what `systemctl enable` made goes with the uninstall."""
    before = snapshot(debian)
    link = f"{layout.WANTS}/ec2ident-agent-watch.service"
    install(debian, REQUEST)
    os.unlink(inside(debian, link))

    for request in (NEWER, NEWER):
        notes = install(debian, request).notes
        assert not os.path.lexists(inside(debian, link))
        assert (
            f"{link}: disabled since it was installed, and stays so;"
            " systemctl enable ec2ident-agent-watch.service enables it"
        ) in notes
    assert os.path.lexists(inside(debian, f"{layout.WANTS}/ec2ident-agent.service"))

    os.symlink("/etc/systemd/system/ec2ident-agent-watch.service", inside(debian, link))
    assert () == install(debian, NEWER).steps
    uninstall(debian)
    assert before == snapshot(debian)


def test_an_upgrade_goes_on_with_the_files_that_were_named(debian: RootFs, capsys: pytest.CaptureFixture[str]) -> None:
    """A run after an upgrade does not know the options of the first one; those of now count."""
    own = ["--config", "/etc/my agent's.toml", "--state-dir", "/run/$state"]
    write(debian, "etc/my agent's.toml", "[interface.eth1]\n", 0o644)
    line = ["install", "--root", debian.root, "--program"]
    assert 0 == cli.main([*line, "/opt/a/ec2ident-agent", *own])
    first = snapshot(debian)

    assert 0 == cli.main([*line, "/opt/a/ec2ident-agent"])
    assert first == snapshot(debian)
    assert 0 == cli.main([*line, "/usr/bin/ec2ident-agent"])
    assert "config='/etc/my agent'\"'\"'s.toml'\nstate='/run/$state'\n" in read(debian, layout.HOOK)
    assert "/run/ec2ident" not in read(debian, "etc/systemd/system/ec2ident-agent.service")

    assert 0 == cli.main([*line, "/usr/bin/ec2ident-agent", "--config", layout.CONFIG, "--state-dir", layout.STATE])
    assert f"config={layout.CONFIG}\nstate={layout.STATE}\n" in read(debian, layout.HOOK)
    capsys.readouterr()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 1}', '{"version": 1, "entries": [{}]}', "\0" * 100]
    + [
        json.dumps({"version": 1, "entries": [{"path": path, "kind": kind, "mark": "", "mode": "0644", "before": ""}]})
        for path, kind in (("/etc/../../etc/passwd", "file"), ("etc/passwd", "file"), ("/etc/passwd", "socket"))
    ],
)
def test_a_damaged_manifest_is_refused(debian: RootFs, content: str) -> None:
    """Never taken for an empty one: what the agent installed would be foreign for ever."""
    write(debian, MANIFEST, content, 0o644)
    before = snapshot(debian)

    for act, _ in ACTS.values():
        with pytest.raises(RefusedError, match=r"^/etc/ec2ident/manifest\.json: damaged; nothing was changed\."):
            act(debian)
    assert before == snapshot(debian)


def test_a_newer_manifest_is_refused_with_both_versions(debian: RootFs) -> None:
    """A later program may mean something else by the same words."""
    write(debian, MANIFEST, '{"version": 2, "entries": []}', 0o644)

    with pytest.raises(RefusedError, match="version 2, this program knows 1"):
        uninstall(debian)


# ---- the tree is never left


@pytest.mark.parametrize("target", ["/outside", "../../../../outside", "../../../../../../../../../outside"])
def test_links_inside_the_tree_never_lead_out_of_it(tmp_path: Path, target: str) -> None:
    """An image's links mean the image: /outside is its own /outside, and .. ends at its root, as after chroot."""
    (tmp_path / "outside").mkdir()
    tree = make(tmp_path / "root", "bare")
    os.makedirs(inside(tree, "etc/network"))
    os.makedirs(inside(tree, "outside"))
    os.symlink(target, inside(tree, "etc/network/if-up.d"))
    before = snapshot(tree)

    install(tree, REQUEST)

    assert ["ec2ident"] == os.listdir(inside(tree, "outside"))
    assert [] == os.listdir(tmp_path / "outside")
    uninstall(tree)
    assert before == snapshot(tree)


def test_links_in_a_circle_are_an_error_and_not_a_loop(tmp_path: Path) -> None:
    """As for the kernel: too many levels of symbolic links."""
    tree = make(tmp_path, "bare")
    os.symlink("iproute2", inside(tree, "etc/iproute2"))

    with pytest.raises(AgentError, match=r"Too many levels of symbolic links.*do it again, or uninstall"):
        install(tree, REQUEST)


# ---- killed at every step


CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "open"}


def killed_before(number: int, act: Callable[[], object]) -> bool:
    """Run `act` in another process, with SIGKILL before its change of this number. Were there so many?"""
    child = os.fork()
    if child == 0:
        left = number

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            changing = event != "open" or int(str(arguments[2])) & (os.O_WRONLY | os.O_CREAT)
            if event in CHANGES and changing:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)  # Before each change: see the table of audit events in the documentation of Python.
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return bool(status)


def at_every_step(root: Path, act: Act, prepare: Act | None) -> list[RootFs]:
    """One tree for each step at which `act` can be killed."""
    trees: list[RootFs] = []
    while True:
        tree = make(root / str(len(trees)), "debian")
        if prepare:
            prepare(tree)
        trees.append(tree)
        if not killed_before(len(trees) - 1, lambda tree=tree: act(tree)):  # type: ignore[misc]
            return trees


def lay(tree: RootFs) -> object:
    return install(tree, REQUEST)


#: What is killed, and what was done before it.
ACTS: dict[str, tuple[Act, Act | None]] = {
    "install": (lay, None),
    "upgrade": (lambda tree: install(tree, NEWER), lay),
    "uninstall": (lambda tree: uninstall(tree), lay),
}


#: Every day the one that does most.
each_act = pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[] if what == "upgrade" else [pytest.mark.full]) for what in ACTS]
)


@each_act
def test_killed_at_any_step_an_uninstall_leaves_the_tree_as_it_was(tmp_path: Path, what: str) -> None:
    """The manifest is written before anything is installed, and goes after everything has gone."""
    before = snapshot(make(tmp_path / "before", "debian"))

    trees = at_every_step(tmp_path, *ACTS[what])

    assert len(trees) > 20
    for tree in trees:
        uninstall(tree)
        assert before == snapshot(tree)


@each_act
def test_killed_at_any_step_an_install_completes_it(tmp_path: Path, what: str) -> None:
    """And nothing is left of temporary names, and the next install finds nothing to do."""
    fresh = make(tmp_path / "fresh", "debian")
    install(fresh, NEWER)

    for tree in at_every_step(tmp_path, *ACTS[what]):
        install(tree, NEWER)
        assert snapshot(fresh) == snapshot(tree)
        assert () == install(tree, NEWER).steps


FIXES = (
    DropIn(f"/etc/systemd/networkd.conf.d/{layout.FIX}", "[Network]\n"),
    DropIn(f"/etc/systemd/network/50-eth.network.d/{layout.FIX}", "[Network]\n"),
)


def lay_fixes(tree: RootFs) -> object:
    return fix(tree, FIXES)


def lay_both(tree: RootFs) -> object:
    return lay(tree), lay_fixes(tree)


#: What is killed, what was done before it, and what is there after an unfix.
FIX_ACTS: dict[str, tuple[Act, Act | None, Act | None]] = {
    "fix": (lay_fixes, None, None),
    "fix beside an install": (lay_fixes, lay, lay),
    "fix with another text": (lambda tree: fix(tree, [replace(FIXES[0], content="[Network]\n\n")]), lay_fixes, None),
    "unfix": (unfix, lay_fixes, None),
    "unfix beside an install": (unfix, lay_both, lay),
}


@pytest.mark.parametrize("what", sorted(FIX_ACTS))
def test_killed_at_any_step_an_unfix_leaves_nothing_of_the_doctor_s(tmp_path: Path, what: str) -> None:
    """Nor of temporary names, which no program would know of any more."""
    act, prepare, rest = FIX_ACTS[what]
    expected = make(tmp_path / "expected", "debian")
    if rest:
        rest(expected)

    trees = at_every_step(tmp_path, act, prepare)

    assert len(trees) > 5
    for tree in trees:
        unfix(tree)
        assert snapshot(expected) == snapshot(tree)
        assert () == unfix(tree).steps


@pytest.mark.full
def test_killed_twice_an_uninstall_still_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    """Install killed at any step, then the uninstall killed at any step."""
    before = snapshot(make(tmp_path / "before", "alpine"))
    first = 0
    while True:
        second = 0
        while True:
            tree = make(tmp_path / "root", "alpine")
            more = killed_before(first, lambda tree=tree: lay(tree))  # type: ignore[misc]
            again = killed_before(second, lambda tree=tree: uninstall(tree))  # type: ignore[misc]
            uninstall(tree)
            assert before == snapshot(tree)
            shutil.rmtree(tree.root)
            if not again:
                break
            second += 1
        if not more:
            return
        first += 1


# ---- a cluster's agents

AGENTS = "usr/lib/ocf/resource.d/ec2ident"
ON_REQUEST = {f"{AGENTS}/{name}" for name in ("overlay", "eni", "dns")} | {"etc/ec2ident/keepalived-notify"}
FOR_A_CLUSTER = InstallRequest(REQUEST.program, extras=("ocf",))


def test_a_cluster_s_agents_are_installed_on_request(tree: RootFs) -> None:
    """Where Pacemaker looks for ocf:ec2ident:NAME, executable, running the program beside the agent."""
    install(tree, REQUEST)
    assert set() == ON_REQUEST & set(snapshot(tree))

    install(tree, FOR_A_CLUSTER)

    seen = snapshot(tree)
    for path in ON_REQUEST:
        assert ("file", 0o755) == seen[path][:2]
        assert subprocess.run(["sh", "-n", inside(tree, path)], check=False).returncode == 0
    for name in ("overlay", "eni", "dns"):
        assert (
            f'${{python:+"$python" -I}} /opt/ec2ident/bin/ec2ident-ocf {name} "$@"'
            in read(tree, f"{AGENTS}/{name}").splitlines()
        )
    for directory in ("usr/lib/ocf", "usr/lib/ocf/resource.d", AGENTS):
        assert ("directory", 0o755) == seen[directory]


def test_a_cluster_s_agents_have_the_agent_s_own_files(tree: RootFs) -> None:
    """With another journal the address would be one that was never asked for, and the agent would remove it."""
    install(tree, replace(FOR_A_CLUSTER, config="/srv/a b.toml", state="/run/other"))

    files = "'/srv/a b.toml' --state-dir /run/other"
    for name in ("overlay", "eni", "dns"):
        assert f'ec2ident-ocf {name} "$@" --config {files}\n' in read(tree, f"{AGENTS}/{name}")
    notify = read(tree, "etc/ec2ident/keepalived-notify")
    assert f'takeover "$service" --agent-config {files}\n' in notify
    assert f'overlay del "$address" --config {files}\n' in notify


@pytest.mark.parametrize("first", [None, "#!/nonexistent/python3\n", f"#!{sys.executable} -I\n"])
def test_a_cluster_s_agent_without_its_python_is_not_installed(tmp_path: Path, tree: RootFs, first: str | None) -> None:
    """As an upgrade of the node leaves it. A probe with another code would restart the service on the healthy node."""
    install(tree, replace(FOR_A_CLUSTER, program=str(tmp_path / "ec2ident-agent")))
    if first:
        script = (Path(layout.__file__).parents[2] / "bin/ec2ident-ocf").read_text().partition("\n")[2]
        # As where the package is not: -I keeps what the tests' environment says from Python.
        (tmp_path / "ec2ident-ocf").write_text(first + script.replace("ec2ident_agent", "ec2ident_agent_gone"))
        (tmp_path / "ec2ident-ocf").chmod(0o755)
    command = ["sh", inside(tree, f"{AGENTS}/overlay"), "monitor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert 5 == done.returncode, done.stderr
    assert done.stderr.splitlines()[-1].startswith("ocf-exit-reason:")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("there", [(), ("usr/lib/ocf/resource.d/heartbeat/IPaddr2",), (f"{AGENTS}/README",)])
def test_uninstall_removes_a_cluster_s_agents_and_no_others(tree: RootFs, there: tuple[str, ...]) -> None:
    """Beside resource-agents' own, in a directory of the project's, and where there was none at all."""
    for path in there:
        write(tree, path, "another program's\n")
    before = snapshot(tree)

    install(tree, FOR_A_CLUSTER)
    assert ON_REQUEST <= set(snapshot(tree))
    uninstall(tree)

    assert before == snapshot(tree)


def test_a_later_install_leaves_a_running_cluster_its_agents(debian: RootFs) -> None:
    """An upgrade does not know that they were asked for; it renews them."""
    install(debian, FOR_A_CLUSTER)

    install(debian, NEWER)

    assert "/opt/ec2ident-2/bin/ec2ident-ocf" in read(debian, f"{AGENTS}/overlay")
    assert ON_REQUEST <= set(snapshot(debian))


def test_an_agent_of_that_name_is_not_overwritten(debian: RootFs) -> None:
    """Refused and named, and the others are installed."""
    write(debian, f"{AGENTS}/eni", "#!/bin/sh\n# mine\n")

    plan = install(debian, FOR_A_CLUSTER)

    assert plan.refused
    assert f"/{AGENTS}/eni: not installed by ec2ident-agent, not changed; move it away and install again" in plan.notes
    uninstall(debian)
    assert "#!/bin/sh\n# mine\n" == read(debian, f"{AGENTS}/eni")


def test_the_command_line_asks_for_a_cluster_s_agents(debian: RootFs, capsys: pytest.CaptureFixture[str]) -> None:
    """--ocf: every one of them in what is printed."""
    before = snapshot(debian)

    assert 0 == cli.main(["install", "--ocf", "--root", debian.root, "--program", REQUEST.program])
    printed = capsys.readouterr().out
    assert [] == [path for path in ON_REQUEST if f"/{path}" not in printed]
    assert 0 == cli.main(["uninstall", "--root", debian.root])
    assert before == snapshot(debian)


# ---- what it cannot do itself

NOT_THERE = f"{REQUEST.program}: not there yet; until it is, the hooks do nothing"
ALONE = (
    "systemd-networkd calls no hooks without networkd-dispatcher: ec2ident-agent-watch.service repairs what it deletes"
)
WICKED = (
    "wicked calls only the scripts that an interface names: in /etc/sysconfig/network/ifcfg-eth1 set POST_UP_SCRIPT"
    ' and POST_DOWN_SCRIPT to "compat:suse:ec2ident.eth1"'
)


@pytest.mark.parametrize(
    ("distribution", "notes"),
    [
        ("debian", ()),
        ("rhel7", ()),
        ("sles", (WICKED,)),
        ("al2023", (ALONE,)),
        ("alpine", ()),
        ("bare", ()),
    ],
)
def test_what_it_cannot_do_itself_it_says_and_no_more(
    tmp_path: Path, distribution: str, notes: tuple[str, ...]
) -> None:
    """Each time, until it is done; a program that is there needs no word."""
    tree = make(tmp_path, distribution)
    assert (*notes, NOT_THERE) == install(tree, REQUEST).notes
    write(tree, REQUEST.program.lstrip("/"), "#!/bin/sh\n")

    assert notes == install(tree, REQUEST).notes


# ---- the command line


class Programs:
    """Records what would be started on the node."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def __call__(self, command: Sequence[str]) -> None:
        self.started.append(shlex.join(command))


def test_daemons_read_again_what_changed_and_only_then(debian: RootFs) -> None:
    """Nothing is started for a dry run, nor when there was nothing to do. What is started is said, in its place."""
    run = Programs()
    reload = ["systemctl daemon-reload", "udevadm control --reload"]
    stop = "systemctl stop 'ec2ident-agent*.service'"

    dry = install(debian, REQUEST, dry_run=True, run=run)
    assert [] == run.started
    assert dry == install(debian, REQUEST, run=run)
    assert reload == run.started == dry.lines[-2:]
    assert [] == install(debian, REQUEST, run=run).lines
    assert reload == run.started
    dry = uninstall(debian, dry_run=True, run=run)
    assert reload == run.started
    assert dry == uninstall(debian, run=run)
    assert [*reload, stop, *reload] == run.started
    assert [stop, *map(str, dry.steps), *reload] == dry.lines


def test_an_image_starts_nothing(debian: RootFs) -> None:
    """systemd may not run, or may not be one that the agent may tell."""
    assert ((), ()) == (install(debian, REQUEST).first, install(debian, NEWER).then)


def test_the_command_line_prints_what_it_does_and_tells_what_it_cannot(
    debian: RootFs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps on stdout, notes on stderr, exit code 0; and 4 where another program's file is in the way."""
    line = ["install", "--root", debian.root, "--program", REQUEST.program]
    expected = [str(step) for step in install(debian, REQUEST, dry_run=True).steps]

    assert 0 == cli.main(line)
    out, err = capsys.readouterr()
    assert expected == out.splitlines()
    assert f"ec2ident-agent: {REQUEST.program}: not there yet; until it is, the hooks do nothing\n" == err
    assert 0 == cli.main(["uninstall", "--root", debian.root])

    write(debian, "etc/network/if-up.d/ec2ident", "#!/bin/sh\n")
    assert 4 == cli.main(line)


def test_a_dry_run_shows_what_root_will_run(debian: RootFs, capsys: pytest.CaptureFixture[str]) -> None:
    """The text of each hook, unit and rule below its command, as it is installed; the manifest's own is left out."""
    line = ["install", "--root", debian.root, "--program", REQUEST.program]
    before = snapshot(debian)

    assert 1 == cli.main([*line, "--dry-run"])
    shown = capsys.readouterr().out
    assert before == snapshot(debian)

    assert 0 == cli.main(line)
    for step in capsys.readouterr().out.splitlines():
        path = step.rpartition(" ")[2]
        if step.startswith("install ") and not path.endswith("/manifest.json"):
            text = "".join(f"    {each}".rstrip() + "\n" for each in read(debian, path).splitlines())
            assert f"{step}\n{text}" in shown
    assert REQUEST.program in shown
    assert '"entries"' not in shown


@pytest.mark.parametrize("distribution", sorted(DISTRIBUTIONS))
def test_a_check_says_whether_what_is_installed_is_of_this_version(
    tmp_path: Path, distribution: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 before an install, 0 after it, 1 where an older version did it; and nothing is changed."""
    tree = make(tmp_path / "root", distribution)
    line = ["install", "--root", tree.root, "--program", REQUEST.program]
    check = [*line, "--check"]
    before = snapshot(tree)

    assert 1 == cli.main(check)
    assert f"{MANIFEST}: missing: nothing is installed\n" == capsys.readouterr().out
    assert before == snapshot(tree)

    assert 0 == cli.main(line)
    capsys.readouterr()
    assert 0 == cli.main(check)
    assert "installed as version " in capsys.readouterr().out

    install(tree, NEWER)
    before = snapshot(tree)
    assert 1 == cli.main(check)
    assert f"{layout.HOOK}: of another version\n" in capsys.readouterr().out
    assert before == snapshot(tree)


def test_a_program_with_two_paths_is_one_program(
    debian: RootFs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Installed through a link and checked by the file's own path, or the reverse: the hooks keep the path that they
    have. Another program is another version.
    """
    file, link, other = (inside(debian, f"opt/{name}/ec2ident-agent") for name in ("1", "2", "3"))
    for path in (file, link, other):
        Path(path).parent.mkdir(parents=True)
    Path(link).symlink_to("../1/ec2ident-agent")
    for path in (file, other):
        Path(path).write_text("#!/bin/sh\n")
        Path(path).chmod(0o755)

    codes = []
    for by, then in ((link, file), (file, link), (file, other)):
        for path, words in ((by, []), (then, ["--check"])):
            monkeypatch.setattr(sys, "argv", [path])
            codes.append(cli.main(["install", "--root", debian.root, *words]))
        uninstall(debian)

    assert codes == [0, 0, 0, 0, 0, 1]
    assert f"{layout.HOOK}: of another version\n" in capsys.readouterr().out


def test_a_check_names_a_file_that_is_missing_and_one_that_is_too_much(
    debian: RootFs, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that the administrator changed is kept by an install, so it is named on standard error alone."""
    check = ["install", "--root", debian.root, "--program", REQUEST.program, "--check"]
    install(debian, InstallRequest(REQUEST.program, extras=("network-scripts",)))
    os.remove(inside(debian, "etc/network/if-up.d/ec2ident"))

    assert 1 == cli.main(check)
    lines = capsys.readouterr().out.splitlines()
    assert "/etc/network/if-up.d/ec2ident: missing" in lines
    assert "/sbin/ifup-local: not part of this version" in lines

    install(debian, REQUEST)
    write(debian, layout.HOOK, "#!/bin/sh\n")
    capsys.readouterr()
    assert 0 == cli.main(check)
    assert f"{layout.HOOK}: kept, changed since it was installed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["NetworkManager", "networkmanager", "network-manager", "NetworkManager.service"])
def test_a_manager_is_known_under_its_own_name(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As its package, its unit and its manual write it."""
    tree = make(tmp_path, "bare")

    assert 0 == cli.main(["install", "--root", tree.root, "--program", REQUEST.program, "--manager", name])

    assert "etc/NetworkManager/dispatcher.d/90-ec2ident" in snapshot(tree)
    capsys.readouterr()


def test_interfaces_come_from_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that it names; a profile named by its MAC has no name that could be used."""
    tree = make(tmp_path, "sles")
    text = '[interface.eth2]\n[interface.ens7]\n[interface.service]\nmac = "06:00:00:00:00:01"\n'
    write(tree, layout.CONFIG, text, 0o644)

    cli.main(["install", "--root", tree.root, "--program", "/usr/bin/ec2ident-agent"])

    names = sorted(os.listdir(inside(tree, "etc/sysconfig/network/if-up.d")))
    assert ["ec2ident.ens7", "ec2ident.eth2"] == names
    assert 2 == capsys.readouterr().err.count("wicked")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["install", "--root", "/nowhere/at/all", "--program", "/x"], 2, "/nowhere/at/all: not the root of a system"),
        (["install", "--program", "x"], 2, "--program: 'x' is not an absolute path of printable characters"),
        (["install", "--program", "/a\nb"], 2, "not an absolute path of printable characters"),
        (["install", "--program", "/it's/x"], 2, "a unit cannot run a path with quotes or backslashes"),
        (["install", "--program", "/x", "--config", "agent.toml"], 2, "--config: 'agent.toml' is not an absolute path"),
        (["install", "--program", "/x", "--manager", "dhcpcd"], 2, "--manager dhcpcd: unknown; known are always, "),
        (["install", "eth1", "--program", "/x"], 2, "install: takes no arguments: eth1"),
        (["uninstall", "--program", "/x"], 2, "--program: not an option of uninstall"),
    ],
)
def test_wrong_words_get_one_clear_line(
    words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing was done."""
    assert code == cli.main(words)
    err = capsys.readouterr().err
    assert text in err
    assert 1 == err.count("\n")


def test_one_install_at_a_time(debian: RootFs) -> None:
    """The second is told so, instead of waiting on the first or mixing with it."""
    import fcntl

    handle = os.open(inside(debian, "etc"), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RefusedError, match="another install or uninstall is running"):
            install(debian, REQUEST)
    finally:
        os.close(handle)


@pytest.mark.root
def test_without_the_right_to_write_there_is_one_line(open_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An ordinary user is told what is needed, and the tree is as it was."""
    tree = make(open_path / "root", "debian")
    before = snapshot(tree)

    assert 4 == ordinary_user.exit_code(
        lambda: cli.main(["install", "--root", tree.root, "--program", REQUEST.program])
    )
    assert "Permission denied (needs root)" in capfd.readouterr().err
    assert before == snapshot(tree)


def test_the_program_is_the_one_that_this_python_was_installed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was called, else beside the interpreter, else on PATH; seen from inside the tree when it lies there."""
    monkeypatch.setenv("PATH", "")
    beside = tmp_path / "venv" / "bin" / "ec2ident-agent"
    beside.parent.mkdir(parents=True)
    with pytest.raises(ConfigError, match="not beside this Python and not on PATH"):
        find_program("-c", str(beside.with_name("python3")))
    beside.write_text("#!/bin/sh\n")
    beside.chmod(0o755)

    assert str(beside) == find_program("-c", str(beside.with_name("python3")))
    assert str(beside) == find_program(str(beside), "/usr/bin/python3")
    assert "/venv/bin/ec2ident-agent" == find_program(str(beside), "/usr/bin/python3", str(tmp_path))
    assert str(beside) == find_program(str(beside), "/usr/bin/python3", f"{tmp_path}/v")


@pytest.mark.parametrize("unit", ["ec2ident-agent.service", "ec2ident-agent-watch.service"])
def test_a_link_belongs_to_its_file_and_is_refused_with_it(debian: RootFs, unit: str) -> None:
    """Situation: a unit of our name is the administrator's. A link in .wants would start that one at boot."""
    path = inside(debian, f"etc/systemd/system/{unit}")
    Path(path).write_text("[Service]\n")

    assert install(debian, REQUEST).refused

    assert not os.path.lexists(inside(debian, f"etc/systemd/system/multi-user.target.wants/{unit}"))


def test_the_published_scripts_of_sles_are_named_and_stay_as_they_are(tmp_path: Path) -> None:
    """Situation: a node with the published recipe. Our links pointed at the recipe's ifup script, in if-down.d too, so
    each ifdown ended with the ifup script.
    """
    tree = make(tmp_path, "sles")
    suse = Path(inside(tree, "etc/sysconfig/network"))
    for name, link in (("ifup.local.eth1", "if-up.d/eth1"), ("ifdown.local.eth2", "if-down.d/ifdown.local.eth2")):
        (suse / "scripts" / name).write_text("ip rule add from 10.0.1.0/24 table MYHA\n")
        (suse / link).parent.mkdir(exist_ok=True)
        (suse / link).symlink_to(f"../scripts/{name}")

    before = snapshot(tree)
    plan = install(tree, REQUEST)
    seen = snapshot(tree)

    assert not plan.refused
    base = "/etc/sysconfig/network"
    names = f"{base}/scripts/ifdown.local.eth2 {base}/scripts/ifup.local.eth1 {base}/if-up.d/eth1"
    names += f" {base}/if-down.d/ifdown.local.eth2: have the names of the published recipe's scripts and links"
    assert [names] == [note.partition(",")[0] for note in plan.notes if "published" in note]
    assert before.items() <= seen.items()
    links = {node[1] for path, node in (seen.items() - before.items()) if "/if-" in path and node[0] == "link"}
    assert {"../scripts/ec2ident.eth1"} == links
    uninstall(tree)
    assert before == snapshot(tree)


def test_after_an_uninstall_nothing_of_an_old_revert_counts(debian: RootFs) -> None:
    """Situation: `revert --all`, uninstall, install again: watch still suppressed every owner."""
    install(debian, REQUEST)
    os.makedirs(inside(debian, "run/ec2ident"))
    Path(inside(debian, "run/ec2ident/suppressed")).write_text("ec2ident-suppressed 1\n")

    uninstall(debian)

    assert not os.path.exists(inside(debian, "run/ec2ident"))


#: What processes of this project have in the state directory besides the journal.
STATE_FILES = (
    *("lock", "watch", "facts", "facts.lock", "config", "suppressed", "ifupdown/eth1:if-up.d", "ocf/overlay-vip"),
    *("failover/audit.log", "failover/audit.log.1", "keepalived/db.lock", "keepalived/db.turn"),
    *("failover/moved-service-db", "watch.prom"),
)


def fill_state(tree: RootFs, *names: str) -> None:
    for name in names:
        write(tree, f"run/ec2ident/{name}", "", 0o600)


def test_after_an_uninstall_nothing_of_the_agent_s_is_in_run(tree: RootFs) -> None:
    """Locks, caches, marks and logs of what was reverted before; a dry run names each of them."""
    os.makedirs(inside(tree, "run"), exist_ok=True)
    before = snapshot(tree)
    install(tree, REQUEST)
    fill_state(tree, *STATE_FILES)

    planned = [str(step) for step in uninstall(tree, dry_run=True).steps]
    uninstall(tree)

    assert before == snapshot(tree)
    assert "flock -n /run/ec2ident/lock rm /run/ec2ident/lock" in planned
    assert "rmdir --ignore-fail-on-non-empty /run/ec2ident" in planned


@pytest.mark.parametrize("kept", ["journal", "failover/service-db", "of-the-administrator", "other/file"])
def test_what_is_still_needed_in_run_is_kept_and_named(
    debian: RootFs, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The journal of what is applied, what failover would put back, and files of other programs."""
    install(debian, REQUEST)
    fill_state(debian, *STATE_FILES, kept)

    assert 0 == cli.main(["uninstall", "--root", debian.root])

    assert os.path.exists(inside(debian, f"run/ec2ident/{kept}"))
    assert (kept == "journal") == os.path.exists(inside(debian, "run/ec2ident/lock"))
    assert "/run/ec2ident: kept, " in capsys.readouterr().err


@pytest.mark.parametrize("lock", ["lock", "watch", "facts.lock"])
def test_a_lock_that_a_process_holds_stays(debian: RootFs, lock: str) -> None:
    """Without its file a second process would hold it too."""
    import fcntl

    install(debian, REQUEST)
    fill_state(debian, *STATE_FILES)
    handle = os.open(inside(debian, f"run/ec2ident/{lock}"), os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        uninstall(debian)
    finally:
        os.close(handle)

    assert [lock] == os.listdir(inside(debian, "run/ec2ident"))


def test_an_uninstall_of_nothing_does_not_touch_run(debian: RootFs) -> None:
    """Another package may have brought hooks and units of its own, which use the directory."""
    fill_state(debian, *STATE_FILES)
    before = snapshot(debian)

    assert installer.Plan() == uninstall(debian)
    assert before == snapshot(debian)
