"""The root file system of an image in which another user replaces directories by links while root installs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ec2ident_agent.install.installer import install, uninstall
from ec2ident_agent.install.layout import InstallRequest
from ec2ident_agent.install.rootfs import File, Other, RootFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = InstallRequest("/opt/ec2ident/bin/ec2ident-agent")
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "open"}

#: The file names of an image that its user may also have outside: an uninstall must not remove those.
NAMES = ("ec2ident", ".ec2ident.ec2ident-new", "mountnfs")


def image(root: Path) -> RootFs:
    for directory in ("if-up.d", "if-down.d", "if-post-down.d"):
        (root / "etc/network" / directory).mkdir(parents=True)
    return RootFs(str(root))


def raced(root: Path, victim: str, number: int, act: Callable[[], object]) -> bool:
    """Run `act` in another process; before its change of this number, `victim` becomes a link to "outside".

    Returns whether there were so many changes. An audit event of Python comes before the system call: between the
    look at the directory and its use, as the race of another process would.
    """
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    left, swapped = number, False

    def swap(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left, swapped
        if swapped or event not in CHANGES:
            return
        if event == "open" and not int(str(arguments[2])) & os.O_CREAT:
            return
        left -= 1
        if left < 0:
            swapped = True
            os.rename(root / victim, root / f"{victim}.moved")
            os.symlink(root.parent / "outside" / victim, root / victim)

    try:
        sys.addaudithook(swap)
        with suppress(Exception):
            act()
    finally:
        os._exit(0 if swapped else 1)


def outside(tmp: Path) -> dict[str, bytes]:
    found = [path for path in (tmp / "outside").rglob("*") if not path.is_dir()]
    return {str(path.relative_to(tmp)): path.read_bytes() for path in found}


@pytest.mark.parametrize("victim", ["etc/network", "etc/network/if-up.d"])
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_directory_that_becomes_a_link_at_any_step_leads_nowhere(tmp_path: Path, verb: str, victim: str) -> None:
    """Situation: root installs into an image where an ordinary user may rename directories. The user makes one a
    link to a directory of the node. Paths that are checked first and used later wrote there (1 of 120 raced installs)
    and deleted there (2 of 50 uninstalls); here the link appears before each single step.
    """
    number = 0
    while True:
        tmp = tmp_path / str(number)
        tree = image(tmp / "root")
        for directory in ("if-up.d", "if-down.d", "if-post-down.d"):
            (tmp / "outside/etc/network" / directory).mkdir(parents=True)
            for name in NAMES:
                (tmp / "outside/etc/network" / directory / name).write_bytes(b"of the node")
        if verb == "uninstall":
            install(tree, REQUEST)
        before = outside(tmp)

        def act(tree: RootFs = tree) -> object:
            return install(tree, REQUEST) if verb == "install" else uninstall(tree)

        more = raced(tmp / "root", victim, number, act)

        assert before == outside(tmp)
        if not more:
            break
        number += 1
    assert number > 10


def test_a_leftover_under_the_temporary_name_is_not_written_through(tmp_path: Path) -> None:
    """Situation: the directory is another user's, and the temporary name is a hard link to a file of the node, a link
    to it, or a pipe. The file keeps its content and nothing waits.
    """
    tree = RootFs(str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    shadow = tmp_path / "shadow"
    shadow.write_text("secret")
    beside = tmp_path / "root/.hook.ec2ident-new"
    for kind in ("hard link", "link", "pipe"):
        if kind == "hard link":
            os.link(shadow, beside)
        elif kind == "link":
            beside.symlink_to(shadow)
        else:
            os.mkfifo(beside)
        tree.write("/hook", b"new", 0o755)

        assert ("secret", File(b"new", 0o755, os.geteuid())) == (shadow.read_text(), tree.look("/hook"))


def test_a_pipe_or_a_device_is_looked_at_and_not_opened(tmp_path: Path) -> None:
    """A pipe without a writer would be waited for; a device may act when it is opened."""
    tree = RootFs(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")

    assert Other() == tree.look("/pipe")


@pytest.mark.parametrize(
    ("path", "there"),
    [("/a/file", True), ("/a/link", True), ("/a/dangling", False), ("/a/file/.", True), ("/a/none/..", False)],
)
def test_what_is_there_is_found_through_links_inside(tmp_path: Path, path: str, there: bool) -> None:
    """A link means what it means to the system in the tree, also at the end; one that leads nowhere is not there."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x")
    (tmp_path / "a/link").symlink_to("/../../../a/file")
    (tmp_path / "a/dangling").symlink_to("/etc/passwd")

    assert there == RootFs(str(tmp_path)).exists(path)
