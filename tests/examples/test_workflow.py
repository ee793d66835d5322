"""The workflow for users' own tests: its commands, as they stand, in a directory that holds what a user copies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import ec2ident

TOP = Path(__file__).parents[2]
FOLDER = TOP / "examples/workflow"
STEPS: dict[str, dict[str, Any]] = {
    step.get("name", step.get("uses")): step
    for step in yaml.safe_load((FOLDER / "tests.yml").read_text("utf-8"))["jobs"]["tests"]["steps"]
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What actions/checkout leaves: the files beside the workflow. `python` is the one of these tests."""
    for path in FOLDER.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    (tmp_path / "bin").mkdir()
    start = tmp_path / "bin/python"
    start.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    start.chmod(0o755)
    return tmp_path


def run(checkout: Path, name: str) -> subprocess.CompletedProcess[str]:
    """A step, as the runner runs it: `bash -e` with its text."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash, which the runner has")
    path = os.pathsep.join([str(TOP), str(TOP / "agent"), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": path}
    argv = ["bash", "-e", "-c", STEPS[name]["run"]]
    return subprocess.run(argv, cwd=checkout, env=variables, capture_output=True, text=True, timeout=100)


def test_the_tests_of_the_sample_pass(checkout: Path) -> None:
    """All of them, with the fixtures that pytest finds by itself."""
    done = run(checkout, "Test")

    assert (0, True) == (done.returncode, "9 passed" in done.stdout), done.stdout + done.stderr


def test_a_client_in_another_language_finds_the_service(checkout: Path) -> None:
    """The service as a process; curl stands for a program without ec2ident."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl, which the runner has")
    done = run(checkout, "Test a program in another language")

    assert (0, "") == (done.returncode, done.stdout), done.stderr


@pytest.mark.full
def test_the_steps_notice_a_wrong_program(checkout: Path) -> None:
    """A program that writes to the office's bucket from everywhere, and a client that asks for something else."""
    for name, right, wrong in (
        ("app.py", "not ec2ident.is_ec2()", "True"),
        ("client.sh", "placement/region", "placement/availability-zone"),
    ):
        text = (checkout / name).read_text(encoding="utf-8")
        assert 1 == text.count(right)
        (checkout / name).write_text(text.replace(right, wrong))

    done = run(checkout, "Test")
    assert (1, True) == (done.returncode, "6 failed, 3 passed" in done.stdout), done.stdout + done.stderr
    assert 1 == run(checkout, "Test a program in another language").returncode


def test_it_installs_this_version() -> None:
    """By the name of the wheel's file, and not from an index that a stranger could register the name on."""
    words = STEPS["Install"]["run"].split()

    assert ["pytest", f"./vendor/ec2ident-{ec2ident.__version__}-py3-none-any.whl"] == words[-2:]
