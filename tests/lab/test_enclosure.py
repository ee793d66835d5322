"""What runs in an enclosure cannot touch this machine, and does not outlive it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import packages
from tests.lab.enclosure import Enclosure, wait_until
from tests.lab.namespace import LabError, Namespace, unique
from tests.lab.packages import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def enclosure() -> Iterator[Enclosure]:
    namespace = Namespace(unique("enclosure"))
    Namespace.add_all(namespace)
    try:
        with Enclosure(namespace) as made:
            yield made
    finally:
        Namespace.remove_all(namespace)


@pytest.mark.root
@pytest.mark.parametrize("directory", ["/etc", "/usr/lib", "/var/lib", "/run"])
def test_what_is_written_inside_is_not_outside(enclosure: Enclosure, directory: str) -> None:
    """An installer can be let loose there."""
    path = f"{directory}/ec2ident-trace"
    assert enclosure.run("sh", "-c", f"echo inside >{path}").returncode == 0

    assert enclosure.text(path) == "inside\n"
    assert not Path(path).exists()


@pytest.mark.root
def test_a_link_never_leads_out(enclosure: Enclosure, tmp_path: Path) -> None:
    """An absolute link, or one that climbs, ends inside; the file outside that has the same path is untouched."""
    for link in ("/run", "../../../../../../run"):
        enclosure.run("ln", "-sfn", link, "/etc/way")
        enclosure.write("/etc/way/ec2ident-trace", link)
        assert enclosure.run("cat", "/run/ec2ident-trace").stdout == link
    assert not Path("/run/ec2ident-trace").exists()


@pytest.mark.root
def test_links_in_a_circle_are_an_error(enclosure: Enclosure) -> None:
    """Not an endless loop."""
    enclosure.run("ln", "-s", "circle", "/etc/circle")
    with pytest.raises(LabError, match="/etc/circle: too many links"):
        enclosure.path("/etc/circle")


@pytest.mark.root
def test_inside_there_are_the_namespaces_interfaces_and_no_other_processes(enclosure: Enclosure) -> None:
    """/sys shows the namespace; /proc shows the first process and who asks."""
    assert enclosure.run("ls", "/sys/class/net").stdout == "lo\n"
    pids = [name for name in enclosure.run("ls", "/proc").stdout.split() if name.isdigit()]
    assert len(pids) == 2


@pytest.mark.root
def test_a_program_inside_has_an_environment_of_its_own(enclosure: Enclosure, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes here must not hang on who runs the tests."""
    monkeypatch.setenv("EC2IDENT_TRACE", "1")
    assert "EC2IDENT_TRACE" not in enclosure.run("env").stdout


@pytest.mark.root
def test_a_daemon_is_stopped_and_another_one_started(enclosure: Enclosure) -> None:
    """stop asks as a service manager does; what it said is in its log."""
    daemon = "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.05; done"
    process = enclosure.start("sh", "-c", daemon, log="daemon")
    wait_until(lambda: enclosure.text("/run/daemon.log") == "hello\n", "it says hello")

    enclosure.stop(process)
    enclosure.stop(process)

    assert enclosure.text("/run/daemon.log") == "hello\nbye\n"


@pytest.mark.root
def test_a_daemon_that_does_not_want_to_end_is_killed(enclosure: Enclosure) -> None:
    """After the patience that it was given."""
    process = enclosure.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done", log="daemon")
    wait_until(lambda: enclosure.text("/run/daemon.log") == "ready\n", "it is ready")
    enclosure.stop(process, patience=0.3)

    assert process.poll() is not None


@pytest.mark.root
def test_no_process_inside_outlives_the_enclosure() -> None:
    """A process that went away from its parents ends too, and with it the mounts."""
    namespace = Namespace(unique("enclosure"))
    Namespace.add_all(namespace)
    try:
        with Enclosure(namespace) as made:
            made.run("sh", "-c", "setsid sh -c 'trap \"\" TERM HUP; sleep 300' >/dev/null 2>&1 &")
            assert len(namespace.pids()) >= 2
        wait_until(lambda: namespace.pids() == [], "none is left", patience=5)
    finally:
        Namespace.remove_all(namespace)


@pytest.mark.root
def test_a_tree_is_mounted_over_this_machines_files(tmp_path: Path) -> None:
    """Its programs are found where they would be installed; the machine's own are still there."""
    for top in ("etc", "usr/bin", "var"):
        (tmp_path / "tree" / top).mkdir(parents=True)
    program = tmp_path / "tree" / "usr/bin/ec2ident-unpacked"
    program.write_text("#!/bin/sh\necho unpacked\n", encoding="ascii")
    program.chmod(0o755)
    namespace = Namespace(unique("enclosure"))
    Namespace.add_all(namespace)
    try:
        with Enclosure(namespace, tmp_path / "tree") as made:
            assert made.run("ec2ident-unpacked").stdout == "unpacked\n"
            assert made.run("test", "-e", "/usr/bin/env").returncode == 0
        assert shutil.which("ec2ident-unpacked") is None
    finally:
        Namespace.remove_all(namespace)


#: An apt-get that knows no package until it was told to update, and then has one, which ships /sbin/demo.
_APT = """#!/bin/sh
case "$*" in
    *update*) touch "$APT_STATE/lists" ;;
    *install*) [ -e "$APT_STATE/lists" ] || { echo "E: Unable to locate package demo" >&2; exit 100; }
        echo "Inst demo (1.0 Archive [all])" ;;
    *download*) dpkg-deb --build --root-owner-group "$APT_STATE/demo" demo_1.0_all.deb >/dev/null ;;
esac
echo "$*" >>"$APT_STATE/calls"
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without package lists, and an archive with one package."""
    if not shutil.which("dpkg-deb") or not Path("/var/lib/apt/lists").exists():
        pytest.skip("needs a Debian machine: dpkg-deb and apt's directories")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apt-get").write_text(_APT, encoding="ascii")
    (tmp_path / "bin/apt-get").chmod(0o755)
    (tmp_path / "demo/DEBIAN").mkdir(parents=True)
    (tmp_path / "demo/DEBIAN").chmod(0o755)  # as dpkg-deb wants it
    control = "Package: demo\nVersion: 1.0\nArchitecture: all\nMaintainer: demo\nDescription: demo\n"
    (tmp_path / "demo/DEBIAN/control").write_text(control, encoding="ascii")
    (tmp_path / "demo/sbin").mkdir()
    (tmp_path / "demo/sbin/demo").write_text("#!/bin/sh\n", encoding="ascii")
    (tmp_path / "demo/sbin/demo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("APT_STATE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packages.tree.cache_clear()
    return tmp_path


def test_a_fresh_machine_gets_its_package_lists_first(archive: Path) -> None:
    """The first question fails, the lists are fetched, and the package is unpacked where a merged /usr has it."""
    root = packages.tree("demo")

    assert stat.S_IMODE((root / "usr/sbin/demo").stat().st_mode) == 0o755
    assert sorted(path.name for path in root.iterdir()) == ["etc", "usr", "var"]
    assert "update" in (archive / "calls").read_text(encoding="ascii")


def test_packages_are_fetched_once(archive: Path) -> None:
    """Another test run asks apt for nothing."""
    first = packages.tree("demo")
    packages.tree.cache_clear()
    before = (archive / "calls").read_text(encoding="ascii")

    assert packages.tree("demo") == first
    assert (archive / "calls").read_text(encoding="ascii") == before


def test_an_archive_that_cannot_be_reached_is_a_reason_to_skip(archive: Path) -> None:
    """The text has what was tried and what apt said, and nothing half-made is left in the cache."""
    (archive / "bin/apt-get").write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n", encoding="ascii")

    with pytest.raises(Unavailable, match="apt-get update: E: no network"):
        packages.tree("demo")
    assert list((archive / "cache/ec2ident-lab").iterdir()) == []


def test_without_apt_the_reason_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not Debian: nothing is tried."""
    monkeypatch.setenv("PATH", str(tmp_path))
    packages.tree.cache_clear()

    with pytest.raises(Unavailable, match="demo: needs a Debian machine with apt-get"):
        packages.tree("demo")


#: Started with a directory, in a mount namespace of its own: makes an enclosure in a chroot.
IN_A_CHROOT = """
import os, sys
from tests.lab.enclosure import Enclosure
from tests.lab.namespace import Namespace, unique
os.chroot(sys.argv[1])
namespace = Namespace(unique("chroot"))
Namespace.add_all(namespace)
try:
    with Enclosure(namespace) as made:
        made.write("/run/ec2ident-trace", "inside")
        print(made.read("cat", "/run/ec2ident-trace"))
finally:
    Namespace.remove_all(namespace)
"""


@pytest.mark.root
def test_in_a_chroot_programs_see_the_files_of_the_inside(tmp_path: Path) -> None:
    """A mount namespace's own root is the host's, so a program that only entered it found nothing that was written."""
    mount = 'mount -t tmpfs run /run && mount --rbind / "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "--net", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, IN_A_CHROOT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[2])
    assert done.stdout == "inside\n", done.stderr
