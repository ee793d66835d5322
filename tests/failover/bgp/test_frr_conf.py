"""FRR's configuration where FRR reads it: written and removed as `install` does, and never over another's file."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ec2ident_agent import cli as agent
from ec2ident_agent.failover.bgp import vtysh
from ec2ident_agent.failover.bgp.frr import Speaker, configuration
from ec2ident_agent.failover.bgp.frr_conf import FrrConf
from ec2ident_agent.failover.cli import main
from ec2ident_agent.failover.errors import ApiUnknownError
from ec2ident_agent.install.installer import install, uninstall
from ec2ident_agent.install.layout import FRR, HOME
from ec2ident_agent.install.manifest import MANIFEST
from ec2ident_agent.install.rootfs import RootFs
from tests.agent.install.test_installer import NEWER, REQUEST, at_every_step, inside, make, read, snapshot, write
from tests.failover.environment import ENVIRONMENT

from .test_configuration import SIMPLE, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Bgp = Callable[..., int]

#: The end of Debian's frr.conf, which says as much as FRR does without it.
DEFAULT = "# default to using syslog.\n#\n! or a comment of FRR's own\nlog syslog informational\n"
DAEMONS = "# This file tells the frr package which daemons to start.\nbgpd=yes\nospfd=no\nbfdd=yes\n"
WANTED = configuration(SIMPLE)
#: One letter less: another address.
OLDER = Speaker(65001, 65000, ("10.0.1.11", "10.0.1.12"), "10.0.1.1", ("192.168.10.5/32",))


def play(directory: Path, script: str) -> None:
    """Put a `vtysh` there that does this, in the shell."""
    (directory / "vtysh").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "vtysh").chmod(0o755)


def package(tree: RootFs, text: str | None = DEFAULT) -> None:
    """What FRR's package leaves in /etc."""
    write(tree, "/etc/frr/daemons", DAEMONS, 0o640)
    if text is not None:
        write(tree, FRR, text, 0o640)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RootFs:
    """A node with FRR. Its parser takes everything."""
    found = make(tmp_path / "root", "debian")
    package(found)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    play(tmp_path / "bin", "exit 0")
    return found


@pytest.fixture
def bgp(tmp_path: Path, tree: RootFs) -> Bgp:
    """`ec2ident-failover bgp --install` on this node."""
    path = tmp_path / "failover.toml"
    path.write_text(TEXT)
    path.chmod(0o600)

    def run(*options: str, address: str = "10.0.1.10") -> int:
        words = ["bgp", "--install", *options, "--config", str(path), "--address", address]
        return main(words, environ=ENVIRONMENT, root=tree.root)

    return run


def put(tree: RootFs, speaker: Speaker = SIMPLE) -> None:
    """The same without a command line."""
    assert 0 == FrrConf(speaker, tree.root, 20).install(lambda line: None, lambda line: None)


@pytest.mark.parametrize(
    "present", [None, "", "# nothing\n\n!\n", DEFAULT, WANTED], ids=["none", "empty", "comments", "default", "same"]
)
def test_it_takes_the_place_of_a_file_that_says_nothing(
    tree: RootFs, bgp: Bgp, capsys: pytest.CaptureFixture[str], present: str | None
) -> None:
    """None, Debian's own, or the same text by hand. It has the mode and the owner of FRR's files; FRR keeps running."""
    os.unlink(inside(tree, FRR))
    before = snapshot(tree)
    package(tree, present)
    if os.geteuid() == 0:
        os.chown(inside(tree, "/etc/frr"), 103, 108)

    assert 0 == bgp()

    status, directory = os.lstat(inside(tree, FRR)), os.lstat(inside(tree, "/etc/frr"))
    assert read(tree, FRR) == WANTED
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert (status.st_uid, status.st_gid) == (directory.st_uid, directory.st_gid)
    out, err = capsys.readouterr()
    assert f"install -m 0640 -o {status.st_uid} -g {status.st_gid} /dev/stdin {FRR}" in out.splitlines()
    assert err == "ec2ident-failover: now run: systemctl restart frr\n"
    uninstall(tree)
    assert before == snapshot(tree)


def test_a_second_time_it_changes_nothing(tree: RootFs, bgp: Bgp, capsys: pytest.CaptureFixture[str]) -> None:
    """And asks for no restart."""
    bgp()
    before = snapshot(tree)
    capsys.readouterr()

    assert 0 == bgp()

    assert ("", "") == capsys.readouterr()
    assert before == snapshot(tree)


def test_a_later_one_replaces_it(tree: RootFs, bgp: Bgp, capsys: pytest.CaptureFixture[str]) -> None:
    """--check and --dry-run say so before with 1 and change nothing; the dry run has the text of the file."""
    put(tree, OLDER)
    before = snapshot(tree)

    assert 1 == bgp("--check")
    assert f"{FRR}: of another version" in capsys.readouterr().out.splitlines()
    assert 1 == bgp("--dry-run")
    assert "    router bgp 65001" in capsys.readouterr().out.splitlines()
    assert before == snapshot(tree)
    assert 0 == bgp()
    assert read(tree, FRR) == WANTED
    assert 0 == bgp("--check")
    assert f"{FRR}: as this configuration makes it\n" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--check", "--dry-run"])
def test_an_option_of_the_install_needs_it(tmp_path: Path, option: str) -> None:
    """Otherwise the text would look like what a check has found."""
    assert 2 == main(["bgp", option, "--config", str(tmp_path / "none")], environ=ENVIRONMENT)


@pytest.mark.parametrize(
    "present", ["router bgp 65001\n", f"{DEFAULT}hostname db1\n", WANTED + "!\nip route 10.0.0.0/8 blackhole\n", "\0"]
)
def test_the_file_of_another_program_stays(
    tree: RootFs, bgp: Bgp, capsys: pytest.CaptureFixture[str], present: str
) -> None:
    """One line is enough. Nothing is written, also no manifest; the message names the file and what to do."""
    write(tree, FRR, present, 0o640)
    before = snapshot(tree)

    for options in ([], ["--dry-run"], ["--check"]):
        assert 4 == bgp(*options)
        said = capsys.readouterr().err
        assert FRR in said
        assert "move the file away" in said
    assert before == snapshot(tree)


def test_a_link_stays(tree: RootFs, bgp: Bgp) -> None:
    """An administrator keeps the file elsewhere."""
    os.rename(inside(tree, FRR), inside(tree, "/etc/frr/mine"))
    os.symlink("mine", inside(tree, FRR))

    assert 4 == bgp()

    assert read(tree, "/etc/frr/mine") == DEFAULT


def test_what_was_changed_since_is_kept(tree: RootFs, bgp: Bgp, capsys: pytest.CaptureFixture[str]) -> None:
    """`write memory` in vtysh rewrites the file. Neither a later install nor an uninstall touches it then."""
    put(tree, OLDER)
    changed = read(tree, FRR) + "ip route 10.0.0.0/8 blackhole\n"
    write(tree, FRR, changed, 0o640)

    assert 4 == bgp()
    assert f"{FRR}: another program or an administrator wrote or changed it" in capsys.readouterr().err
    assert f"{FRR}: kept, changed since it was installed" in uninstall(tree).notes
    assert read(tree, FRR) == changed


@pytest.mark.parametrize(("name", "code"), [("bgpd.conf", 4), ("zebra.conf", 4), ("vtysh.conf", 0)])
def test_the_files_of_single_daemons_are_not_hidden(tree: RootFs, bgp: Bgp, name: str, code: int) -> None:
    """FRR reads them only without frr.conf. An empty one is FRR's own; with frr.conf they are not read already."""
    os.unlink(inside(tree, FRR))
    write(tree, f"/etc/frr/{name}", "hostname db1\n", 0o640)
    write(tree, "/etc/frr/staticd.conf", "", 0o640)

    assert code == bgp()

    if code:
        package(tree)
        assert 0 == bgp()


def test_without_frr_nothing_is_written(tree: RootFs, bgp: Bgp, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that the package finds would change what its installation does."""
    shutil.rmtree(inside(tree, "/etc/frr"))

    assert 2 == bgp()

    assert "install FRR" in capsys.readouterr().err
    assert not os.path.exists(inside(tree, HOME))


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("echo 'line 3: % Unknown command: bfd' >&2; exit 2", 4, "refuses the configuration: vtysh -C -f"),
        ("sleep 60", 3, "no answer"),
    ],
)
def test_what_frrs_parser_does_not_take_is_not_installed(
    tree: RootFs, bgp: Bgp, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str, code: int, said: str
) -> None:
    """An older FRR may lack a command. The parser has a deadline."""
    before = snapshot(tree)
    play(tmp_path / "bin", script)

    assert code == bgp("--deadline", "0.5")

    assert said in capsys.readouterr().err
    assert before == snapshot(tree)


def test_without_vtysh_the_text_is_not_checked(
    tree: RootFs, bgp: Bgp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert 0 == bgp()

    assert "is not checked" in capsys.readouterr().err


def test_frrs_own_parser_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one takes the text, and names the line of one letter that is wrong."""
    if not shutil.which("vtysh"):
        pytest.skip("needs vtysh, from the Debian package frr")

    vtysh.check(WANTED, 20)
    with pytest.raises(ApiUnknownError, match="Unknown command"):
        vtysh.check(WANTED.replace("advertisement-interval", "advertisment-interval"), 20)


@pytest.mark.parametrize(
    ("daemons", "named"),
    [
        (DAEMONS, []),
        (DAEMONS.replace("bfdd=yes", 'bfdd="no"'), ["bfdd"]),
        (DAEMONS.replace("bgpd=yes", "#bgpd=yes"), ["bgpd"]),
        (DAEMONS + "bgpd=no # not here\n", ["bgpd"]),
        ("bgpd=1\nbfdd='yes'", []),
        ("", ["bgpd", "bfdd"]),
    ],
)
def test_a_daemon_that_is_switched_off_is_named(
    tree: RootFs, bgp: Bgp, capsys: pytest.CaptureFixture[str], daemons: str, named: list[str]
) -> None:
    """With the line to write, also when the file is up to date. The package's file itself is not edited."""
    write(tree, "/etc/frr/daemons", daemons, 0o640)

    for _ in range(2):
        assert 0 == bgp()
        lines = capsys.readouterr().err.splitlines()
        assert [line.rpartition(" ")[2] for line in lines if "/etc/frr/daemons" in line] == [
            f"{name}=yes" for name in named
        ]
    assert read(tree, "/etc/frr/daemons") == daemons


def test_without_bfd_its_daemon_is_not_needed(tree: RootFs) -> None:
    """Only what the sessions use."""
    write(tree, "/etc/frr/daemons", "bgpd=yes\n", 0o640)
    said: list[str] = []

    FrrConf(Speaker(65001, 65000, ("10.0.1.11",), "10.0.1.10", (), bfd=False), tree.root, 20).install(
        said.append, said.append
    )

    assert not [line for line in said if "bfdd" in line]


def test_the_agents_install_does_not_touch_it(tree: RootFs) -> None:
    """Before, after, and at an upgrade; one uninstall removes both, and says how FRR notices."""
    os.unlink(inside(tree, FRR))
    before = snapshot(tree)

    put(tree)
    for request in (REQUEST, NEWER):
        install(tree, request)
        assert read(tree, FRR) == WANTED
    put(tree, OLDER)
    assert () == install(tree, NEWER).steps
    assert "now run: systemctl restart frr" in uninstall(tree).notes
    assert before == snapshot(tree)


@pytest.mark.parametrize("changed", ["", "ip route 10.0.0.0/8 blackhole\n"], ids=["as installed", "changed"])
def test_the_script_without_python_removes_it(tree: RootFs, changed: str) -> None:
    """Only as it was installed; what was changed is kept and named, with 1."""
    os.unlink(inside(tree, FRR))
    before = snapshot(tree)
    install(tree, REQUEST)
    put(tree)
    write(tree, FRR, WANTED + changed, 0o640)

    script = ["/bin/sh", inside(tree, f"{HOME}/uninstall"), tree.root]
    done = subprocess.run(script, capture_output=True, text=True, env={}, timeout=60, check=False)

    if changed:
        assert 1 == done.returncode
        assert f"kept: {inside(tree, FRR)}: changed since it was installed" in done.stderr
        os.unlink(inside(tree, FRR))
    else:
        assert (0, "") == (done.returncode, done.stderr)
    assert before == snapshot(tree)


def test_the_agents_command_removes_it(tree: RootFs, bgp: Bgp, capsys: pytest.CaptureFixture[str]) -> None:
    """Also on a node where the agent itself was never installed."""
    bgp()
    capsys.readouterr()

    assert 0 == agent.main(["uninstall", "--root", tree.root])

    assert f"rm {shlex.quote(FRR)}" in capsys.readouterr().out.splitlines()
    assert not os.path.exists(inside(tree, FRR))
    assert not os.path.exists(inside(tree, HOME))


@pytest.mark.parametrize("earlier", [False, True], ids=["Debian's", "an earlier one"])
def test_killed_at_any_step_it_is_done_again_or_removed(tmp_path: Path, tree: RootFs, earlier: bool) -> None:
    """Debian's file is never taken for an earlier one of the agent: until it is replaced, an uninstall keeps it."""

    def prepare(tree: RootFs) -> None:
        package(tree)
        if earlier:
            put(tree, OLDER)

    seen = set()
    for again in (True, False):
        for each in at_every_step(tmp_path / str(again), put, prepare):
            present = read(each, FRR)
            seen.add(present)
            if again:
                put(each)
                assert read(each, FRR) == WANTED
            uninstall(each)
            assert os.path.exists(inside(each, FRR)) == (not again and present == DEFAULT)
            assert ["daemons", *(["frr.conf"] if not again and present == DEFAULT else [])] == sorted(
                os.listdir(inside(each, "/etc/frr"))
            )
            assert not os.path.exists(inside(each, MANIFEST))
    assert seen == {configuration(OLDER) if earlier else DEFAULT, WANTED}
