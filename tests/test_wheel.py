"""What users install: the wheel holds all that the packages need and nothing else, and its commands run anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
SHIPPED = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "ec2ident", "agent", "share")
COMMANDS = ("ec2ident", "ec2ident-agent", "ec2ident-ocf", "ec2ident-failover")
#: Nothing of the checkout's is on the way of an installed command.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


def run(*command: str, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert code == done.returncode, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as they are now, without what earlier builds left in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    nothing_made = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SHIPPED:
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, copy / name, ignore=nothing_made)
        else:
            shutil.copy2(TOP / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(source), cwd=place)
    (built,) = place.glob("*.whl")
    return built


def packaged(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name and ".data/" not in name}


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(source: Path, wheel: Path) -> None:
    """A certificate or a hook that is left out is missed only on the user's machine; tests are not for there."""
    library = {str(path.relative_to(source)) for path in (source / "ec2ident").rglob("*") if path.is_file()}
    agent = source / "agent"
    ours = {str(path.relative_to(agent)) for path in (agent / "ec2ident_agent").rglob("*") if path.is_file()}

    assert library | ours == packaged(wheel)


def test_the_wheel_holds_man_pages_and_completion(source: Path, wheel: Path) -> None:
    """pip puts them into the environment's own share/, where man finds those of a program that is on PATH."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name.partition(".data/data/")[2] for name in archive.namelist() if ".data/data/" in name}

    assert found == {str(path.relative_to(source)) for path in (source / "share").rglob("*") if path.is_file()}
    assert "share/man/man8/ec2ident-agent.8" in found


def test_the_source_distribution_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    """A distributor starts from it."""
    build = "import setuptools.build_meta as b, sys; b.build_sdist(sys.argv[1])"
    tools = tmp_path / "tools"
    run(sys.executable, "-m", "venv", str(tools), cwd=tmp_path)
    run(str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", "setuptools>=61", cwd=tmp_path)
    run(str(tools / "bin" / "python"), "-c", build, str(tmp_path), cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", ".", str(archive), cwd=tmp_path)
    (again,) = tmp_path.glob("*.whl")

    assert packaged(wheel) == packaged(again)


def test_every_command_of_an_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, from a directory that knows nothing of the checkout."""
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    there = tmp_path / "venv" / "bin"
    run(str(there / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[failover]", cwd=tmp_path)
    genuine = TOP / "tests" / "vectors" / "real" / "cloudinit-us-east-2-2018" / "rsa2048.b64"

    assert set(COMMANDS) <= {path.name for path in there.iterdir()}
    assert "cn-north-1.amazonaws.com.cn" in run(str(there / "ec2ident"), "region", "cn-north-1", cwd=tmp_path)
    assert "signed by AWS for us-east-2" in run(str(there / "ec2ident"), "verify", str(genuine), cwd=tmp_path)
    assert "ec2ident-agent" in run(str(there / "ec2ident-agent"), "--version", cwd=tmp_path)
    assert "route" in run(str(there / "ec2ident-failover"), "--help", cwd=tmp_path)
    (tmp_path / "node" / "etc").mkdir(parents=True)
    dry = ("install", "--dry-run", "--root", str(tmp_path / "node"))
    # 1: it would change something.
    assert "/etc/ec2ident/hook" in run(str(there / "ec2ident-agent"), *dry, cwd=tmp_path, code=1)


def test_the_pinned_libraries_install_by_hash_and_are_enough(wheel: Path, tmp_path: Path) -> None:
    """As docs/install.md says: pip takes nothing that has another hash, and finds nothing missing."""
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    there = tmp_path / "venv" / "bin"
    pip = (str(there / "python"), "-m", "pip")
    listed = str(TOP / "scripts/constraints.txt")
    run(*pip, "install", "--quiet", "--only-binary", ":all:", "--require-hashes", "-r", listed, cwd=tmp_path)
    run(*pip, "install", "--quiet", "--no-deps", str(wheel), cwd=tmp_path)

    assert "No broken requirements found" in run(*pip, "check", cwd=tmp_path)
    assert "cn-north-1.amazonaws.com.cn" in run(str(there / "ec2ident"), "region", "cn-north-1", cwd=tmp_path)
    assert "route" in run(str(there / "ec2ident-failover"), "--help", cwd=tmp_path)
