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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident.testing import Authority

pytest_plugins = ["ec2ident.testing.pytest_plugin"]

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
DEMO = (TOP / "docs" / "demo.md").read_text(encoding="utf-8")
REAL = TOP / "tests" / "vectors" / "real"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'agent'}", "COLUMNS": "200"}


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


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


def test_the_first_answers_are_those_of_an_instance(
    metadata_authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a reader types first, on an instance of ec2ident.testing."""
    from ec2ident.cli import main
    from ec2ident.testing import Instance
    from ec2ident.testing.pretending import pretend

    (block,) = (each for each in blocks("console") if "bin/ec2ident" in each)
    shown = re.findall(r"^\$ /opt/ec2ident/bin/ec2ident(.*)\n(.*\n)", block, re.MULTILINE)

    assert 2 == len(shown)
    with pretend(Instance(), authority=metadata_authority):
        for words, text in shown:
            # The machine may be busy.
            assert 0 == main([*words.split(), "--timeout", "60"])
            assert text == capsys.readouterr().out


def test_evidence_is_saved_and_verified_as_shown(
    metadata_authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On an instance of ec2ident.testing: its authority stands for AWS."""
    from ec2ident.cli import main
    from ec2ident.testing import Instance
    from ec2ident.testing.pretending import pretend

    (block,) = (each for each in blocks("sh") if "evidence" in each)
    (_, *save), (_, *check) = (line.partition("#")[0].split() for line in block.splitlines())
    assert ["DIR", "DIR"] == [save[-1], check[-1]]

    with pretend(Instance(), authority=metadata_authority):
        assert 0 == main([*save[:-1], str(tmp_path), "--timeout", "60"])
        assert 0 == main([*check[:-1], str(tmp_path)])
    assert "i-0123456789abcdef0" in capsys.readouterr().out


def test_the_shortened_output_is_from_the_whole() -> None:
    """Each line of README's stands in docs/demo.md, in the same order."""
    (short,), (whole,) = (each for each in blocks("console") if "scripts/demo" in each), blocks("console", DEMO)
    left = iter(whole.splitlines())

    assert [] == [line for line in short.splitlines() if line not in left]


def test_the_picture_has_the_addresses_of_the_example() -> None:
    """README's configuration is that of node 1."""
    (configuration,) = blocks("toml")
    picture = (TOP / "docs" / "picture.svg").read_text(encoding="utf-8")
    values = dict(re.findall(r'^(\w+) += "?([^"\n]+)"?$', configuration, re.MULTILINE))

    for key in ("subnet", "router", "table", "table_name", "address", "device"):
        assert values[key] in picture, key


def test_the_picture_is_the_one_that_the_script_draws() -> None:
    """scripts/check asks too; here it is said with the other promises of README."""
    done = subprocess.run(
        [sys.executable, str(TOP / "scripts" / "draw-picture"), "--check"], capture_output=True, text=True, timeout=60
    )

    assert (0, "draw-picture: current\n", "") == (done.returncode, done.stdout, done.stderr)


def test_the_figures_are_those_of_the_measurement() -> None:
    """docs/performance.md has the table that scripts/bench measures; README rounds it."""
    table = (TOP / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = {row[1].strip(): row[4].strip() for line in table.splitlines() if len(row := line.split("|")) == 7}
    text = " ".join(README.split())

    for name, words in (
        ("`verify`, `rsa2048`", "in the time of {} bare RSA operations"),
        ("apply, nothing to do", "takes that of {} starts of Python"),
    ):
        assert words.format(f"{float(rows[name].split()[0]):.1f}") in text, name


def test_the_table_says_of_when_it_is() -> None:
    """Others go on; a reader sees how old the comparison is, and each row answers for each of them."""
    below = README.partition("\n## Beside others\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in below.splitlines() if line.startswith("|")]

    assert re.search(r"As of \d{4}-\d{2}\.", below)
    assert {5} == {len(row) for row in rows}
    assert [] == [row[0] for row in rows[2:] if not all(cell.strip() for cell in row)]


@pytest.mark.full
@pytest.mark.root
@pytest.mark.timeout(600)
def test_the_demo_prints_what_its_page_shows(tmp_path: Path) -> None:
    """From nothing, with an empty home directory: every step holds, and the output is the one in docs/demo.md."""
    (shown,) = blocks("console", DEMO)
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
