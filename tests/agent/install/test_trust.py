"""Root runs only what is root's, and nothing of the caller's environment decides what Python loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident_agent.errors import RefusedError
from ec2ident_agent.install import layout
from ec2ident_agent.install.installer import install
from ec2ident_agent.install.layout import InstallRequest
from ec2ident_agent.install.rootfs import RootFs
from ec2ident_agent.install.trust import check_trust, interpreter
from tests.lab.modes import umask

PROGRAM = "/opt/agent/bin/ec2ident-agent"
SITE = "/opt/agent/lib/python3.11/site-packages"
USER = 65534


@umask()
def image(root: Path) -> RootFs:
    """A system with the agent in a virtual environment with a Python that is a link to the system's."""
    for directory in ("etc", "opt/agent/bin", SITE[1:], f"{SITE[1:]}/ec2ident", "usr/bin", "usr/lib/python3.11"):
        (root / directory).mkdir(parents=True)
    (root / "usr/bin/python3.11").write_text("")
    (root / "opt/agent/bin/python").symlink_to("/usr/bin/python3.11")
    (root / PROGRAM[1:]).write_text("#!/opt/agent/bin/python\n")
    for path in ("usr/bin/python3.11", PROGRAM[1:]):
        (root / path).chmod(0o755)
    return RootFs(str(root))


def files(root: Path) -> list[str]:
    return sorted(str(path) for path in root.rglob("*"))


PLACES = [
    PROGRAM,
    "/opt/agent/bin",
    "/opt",
    "/opt/agent/bin/python",
    "/usr/bin/python3.11",
    "/usr/bin",
    "/usr/lib/python3.11",
    SITE,
    f"{SITE}/ec2ident",
]


@pytest.mark.root
@pytest.mark.parametrize("place", PLACES)
def test_what_another_user_owns_is_not_made_root_s_program(tmp_path: Path, place: str) -> None:
    """Situation: pip install as an ordinary user, then `sudo ec2ident-agent install`. That user, or who gets at the
    account, writes the code that root runs at each event of the network.
    """
    tree = image(tmp_path / "root")
    os.chown(tree.root + place, USER, USER, follow_symlinks=False)
    before = files(tmp_path)

    with pytest.raises(RefusedError, match=f"owned by uid {USER}, not by root; root would run what that user writes"):
        install(tree, InstallRequest(PROGRAM))

    assert before == files(tmp_path)


@pytest.mark.parametrize("place", [place for place in PLACES if not place.endswith("/python")])
def test_what_others_may_write_is_not_made_root_s_program(tmp_path: Path, place: str) -> None:
    """The same through a mode: a program installed under umask 000, or a directory of a group."""
    tree = image(tmp_path / "root")
    os.chmod(tree.root + place, 0o775)

    with pytest.raises(RefusedError, match=r"may be written by other users \(mode 0775\)"):
        install(tree, InstallRequest(PROGRAM))


def test_what_is_root_s_is_installed(tmp_path: Path) -> None:
    """The near miss: the same files as in the tests above, with nothing wrong; and a sticky directory on the way."""
    tree = image(tmp_path / "root")
    os.chmod(f"{tree.root}/opt", 0o1777)

    assert install(tree, InstallRequest(PROGRAM)).steps


def test_python_is_the_one_that_the_program_names(tmp_path: Path) -> None:
    """Also in pip's form for a path with a space, and through a link to the program."""
    tree = image(tmp_path / "root")
    (tmp_path / "root/usr/bin/ec2ident-agent").symlink_to(PROGRAM)
    for text, expected in (
        ("#!/opt/agent/bin/python\n", "/opt/agent/bin/python"),
        ("#!/opt/agent/bin/python3.11 -sE\n", "/opt/agent/bin/python3.11"),
        ("#!/bin/sh\n'''exec' \"/opt/a venv/bin/python3\" \"$0\" \"$@\"\n' '''\n", "/opt/a venv/bin/python3"),
        ("#!/usr/bin/env python3\n", ""),
        ("#!/bin/sh\nexec x\n", ""),
        ("\x7fELF", ""),
    ):
        (tmp_path / "root/opt/agent/bin/ec2ident-agent").write_text(text)

        assert expected == interpreter(tree, "/usr/bin/ec2ident-agent")


def test_units_start_python_isolated(tmp_path: Path) -> None:
    """`python -I`: neither variables nor a user's directory decide what is loaded."""
    tree = image(tmp_path / "root")
    for unit, verb in (("ec2ident-agent.service", "apply"), ("ec2ident-agent-watch.service", "watch")):
        text = layout.render(unit, InstallRequest(PROGRAM), tree).decode()

        assert f"ExecStart=/opt/agent/bin/python -I {PROGRAM} {verb}\n" in text


@pytest.mark.parametrize("script", ["hook", "ocf/overlay"])
def test_the_caller_s_user_directory_is_not_loaded(tmp_path: Path, script: str) -> None:
    """Situation: PYTHONUSERBASE in the environment of who calls ifup by sudo, or of the cluster engine, named a
    directory with a usercustomize.py; Python ran it as root, whatever the program was.
    """
    base = os.path.realpath(sys.executable)
    site = tmp_path / "user" / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    site.mkdir(parents=True)
    (site / "usercustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "agent.toml").write_text("[interface.eth1]\n")
    program, flags = tmp_path / "ec2ident-agent", tmp_path / "flags"
    for each in (program, tmp_path / "ec2ident-ocf"):
        each.write_text(f"#!{base}\nimport sys\nopen({str(flags)!r}, 'w').write(str(sys.flags.isolated))\n")
        each.chmod(0o755)
    request = InstallRequest(str(program), str(tmp_path / "agent.toml"), str(tmp_path / "state"))
    (tmp_path / "script").write_bytes(layout.render(script, request, RootFs("/")))
    environ = {"PATH": os.environ["PATH"], "PYTHONUSERBASE": str(tmp_path / "user")}
    subprocess.run([base, "-c", ""], env=environ, check=True)
    assert (tmp_path / "ran").exists(), "the trap does not work"
    (tmp_path / "ran").unlink()

    words = ["udev", "eth1", "add"] if script == "hook" else ["monitor"]
    subprocess.run(["sh", str(tmp_path / "script"), *words], env=environ, check=True, timeout=60)

    assert ("1", False) == (flags.read_text(), (tmp_path / "ran").exists())


def test_a_program_that_names_no_python_has_none(tmp_path: Path) -> None:
    """A missing program, one without a first line for the kernel, and one with a quote that never ends."""
    tree = image(tmp_path / "root")

    assert "" == interpreter(tree, "/opt/agent/bin/missing")
    for content in ("", "echo hello\n", "#!/bin/sh\n'''exec' \"/opt/agent/bin/python\n", "#!/bin/bash\n"):
        (tmp_path / "root" / PROGRAM[1:]).write_text(content)
        assert "" == interpreter(tree, PROGRAM), content


@pytest.mark.skipif(
    " " in sys.executable, reason="a first line `#!` cannot name an interpreter with a space in its path"
)
def test_a_development_install_is_judged_by_where_its_packages_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packages of `pip install --editable` are outside the Python's own directories."""
    import ec2ident
    import ec2ident_agent

    program = tmp_path / "ec2ident-agent"
    program.write_text(f"#!{sys.executable}\n")
    judged: list[str] = []
    tree = RootFs("/")

    def record(path: str) -> str:
        judged.append(path)
        return ""

    monkeypatch.setattr(tree, "untrusted", record)

    check_trust(tree, str(program))

    assert {str(program), sys.executable} <= set(judged)
    assert {os.path.dirname(str(package.__file__)) for package in (ec2ident, ec2ident_agent)} <= set(judged)
