"""The examples of docs/testing.md run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident.testing import BEHAVIOURS
from ec2ident.testing.control import VERBS
from tests.blocks import run_by

pytest_plugins = ["pytester"]

TOP = Path(__file__).parents[3]
PAGE = (TOP / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
#: No proxy before the service, which an SDK would ask, and time for a busy machine.
ENVIRONMENT = {"PYTHONPATH": str(TOP), "NO_PROXY": "127.0.0.1", "AWS_METADATA_SERVICE_TIMEOUT": "20"}
PROGRAMS = [example for example in EXAMPLES if not example.startswith("# ")]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_an_example_runs(number: int, tmp_path: Path) -> None:
    """Each block is a program of its own, in a fresh interpreter; it says nothing and ends with 0."""
    file = tmp_path / "example.py"
    file.write_text(PROGRAMS[number], encoding="utf-8")
    environment = {**os.environ, **ENVIRONMENT}

    done = subprocess.run([sys.executable, str(file)], env=environment, capture_output=True, text=True, timeout=100)

    assert (0, "") == (done.returncode, done.stderr)


def test_the_fixture_example_runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of tests, as printed."""
    pytest.importorskip("botocore", reason="needs botocore")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    files = [example for example in EXAMPLES if example.startswith("# ")]
    for example in files:
        (pytester.path / example.splitlines()[0][2:]).write_text(example, encoding="utf-8")

    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=4)


def test_the_process_announces_itself_and_is_steered_as_shown(open_path: Path) -> None:
    """Both blocks of "As a process": what the first prints but for the port, and the second steers it."""
    start, tell = run_by(__file__)
    shown = [line for line in start.text.splitlines() if not line.startswith("$ ")]
    ((_, *words),) = start.commands()

    def here(text: str) -> str:
        return re.sub(r"(?<=127\.0\.0\.1:)\d+", "PORT", re.sub(r"/tmp/(?=imds|cert)", f"{open_path}/", text))

    argv = [sys.executable, *(here(word) for word in words)]
    environment = {**os.environ, **ENVIRONMENT}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = [process.stdout.readline().rstrip("\n") for _ in shown]
            done = [
                subprocess.run(
                    [sys.executable, *map(here, more)], env=environment, capture_output=True, text=True, timeout=60
                )
                for _, *more in tell.commands()
            ]
        finally:
            process.terminate()
            process.communicate(timeout=60)

    assert [here(line) for line in shown] == [re.sub(r"(?<=127\.0\.0\.1:)\d+", "PORT", line) for line in said]
    assert [(0, "")] * 3 == [(each.returncode, each.stderr) for each in done]


def test_the_page_names_every_behaviour_and_every_verb() -> None:
    """And none that does not exist."""
    table = re.search(r"^\| name \|.*?(?=\n\n)", PAGE, re.MULTILINE | re.DOTALL)
    assert table
    named = {name for row in table[0].splitlines() for name in re.findall(r"`([a-z0-9.-]+)`", row.split("|")[1])}
    verbs = re.search(r"^Verbs: (.*?)\. In Python", PAGE, re.MULTILINE | re.DOTALL)
    assert verbs

    assert set(BEHAVIOURS) == named
    assert set(VERBS) == set(re.findall(r"`([a-z-]+)`", verbs[1]))
