"""README promises: every command in it exists, every example runs, and what it shows is what comes out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
REAL = TOP / "tests" / "vectors" / "real"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'agent'}", "COLUMNS": "200"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = (line.partition("#")[0].split() for block in blocks("sh") for line in block.splitlines())
    return [words for words in lines if words]


def test_every_document_that_readme_names_is_there() -> None:
    """A link to nowhere is a promise that is not kept."""
    links = re.findall(r"\]\(([^)#]+)", README)

    assert links
    assert [] == [link for link in links if not (TOP / link).exists()]


def test_every_script_that_readme_names_is_there() -> None:
    """The two commands can be run as they stand."""
    scripts = [words[0] for words in commands() if words[0].startswith("scripts/")]

    assert {"scripts/demo", "scripts/test"} <= set(scripts)
    assert all(os.access(TOP / script, os.X_OK) for script in scripts)


@pytest.mark.parametrize("words", [w for w in commands() if w[0].startswith("ec2ident")], ids=" ".join)
def test_every_command_that_readme_shows_is_understood(words: list[str]) -> None:
    """With its own help or in a place where it does nothing; wrong words would be exit code 2."""
    package = {"ec2ident-failover": "ec2ident_agent.failover.cli"}.get(words[0], words[0].replace("-", "_"))
    verb = words[1:2] if words[1:2] and not words[1].startswith("-") else ["show"] * (package == "ec2ident")
    done = subprocess.run(
        [sys.executable, "-m", package, *verb, "--help"], capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )

    assert (0, "") == (done.returncode, done.stderr)
    for word in [*verb, *(word for word in words[1:] if word.startswith("--"))]:
        assert word in done.stdout


def test_the_examples_of_the_library_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The first on this machine without a network, the second on a document that AWS signed."""
    import ec2ident

    first, second = blocks("python")
    offline = first.replace("is_ec2()", "detect(network=False)").replace("timeout=2.0", "timeout=2.0, network=False")
    exec(compile(offline, "README", "exec"), {"ec2ident": ec2ident})
    scope: dict[str, object] = {}
    exec(compile(second, "README", "exec"), scope)
    admit = scope["admit"]
    assert callable(admit)
    genuine = (REAL / "cloudinit-us-east-2-2018" / "rsa2048.b64").read_text()
    other = (REAL / "teleport-us-west-2-2021" / "rsa2048.b64").read_text()

    assert "level" in capsys.readouterr().out
    assert "i-075f088c72ad3271c" == admit(genuine, datetime.now(timezone.utc))
    with pytest.raises(ec2ident.VerificationError, match="account: 278576220453"):
        admit(other, datetime.now(timezone.utc))


def test_the_agent_takes_readmes_configuration() -> None:
    """It is the published recipe, and complete: nothing is left to ask."""
    from ec2ident_agent.config import parse

    (configuration,) = blocks("toml")

    config = parse("agent.toml", configuration.encode())

    assert ["eth1"] == [section.name for section in config.sections]
    assert ["192.168.10.10/32"] == [overlay.address for overlay in config.overlays]


@pytest.mark.full
@pytest.mark.root
@pytest.mark.timeout(600)
def test_the_demo_prints_what_readme_shows(tmp_path: Path) -> None:
    """From nothing, with an empty home directory: every step holds, and the output is the one in README."""
    (shown,) = (block for block in blocks("console") if "scripts/demo" in block)
    done = subprocess.run(
        [str(TOP / "scripts" / "demo"), sys.executable],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
        timeout=500,
    )

    assert (0, shown) == (done.returncode, f"$ scripts/demo\n{done.stdout}")


@pytest.mark.full
@pytest.mark.root
@pytest.mark.timeout(600)
def test_an_ordinary_user_can_run_the_demo(open_path: Path) -> None:
    """In a user namespace of its own, and no home directory is touched."""
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv (util-linux) to become an ordinary user")
    # A shell between, because setpriv itself still starts a program with root's rights.
    attempt = [*become, "sh", "-c", 'exec "$0" -c "import venv, ensurepip"']
    usable = (
        python
        for python in (sys.executable, "/usr/bin/python3")
        if not subprocess.run([*attempt, python], capture_output=True, timeout=60).returncode
    )
    python = next(usable, None)
    if python is None:
        pytest.skip("needs a Python with venv that an ordinary user may run (Debian: python3-venv)")
    home = open_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    done = subprocess.run(
        [*become, str(TOP / "scripts" / "demo"), python],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
        timeout=500,
    )

    assert (0, "All of it holds.") == (done.returncode, done.stdout.rstrip().rpartition("\n")[2]), done.stderr
