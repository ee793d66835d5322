"""CPython for Windows, its oldest and its newest version, and one Windows machine for the session."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from .machine import TOP, WINE, Windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    """A machine with Wine's files and registry."""
    if platform.machine() != "x86_64":
        pytest.skip(f"CPython for Windows is an x86-64 program here, and this machine is {platform.machine()}")
    if not WINE.exists():
        pytest.skip("needs Wine (Debian package wine64)")
    with Windows(tmp_path_factory.mktemp("windows")) as machine:
        yield machine


@pytest.fixture(scope="session", params=["3.9", "3.13"])
def python(request: pytest.FixtureRequest) -> Path:
    """The path of python.exe, with modules installed from wheels for Windows."""
    made = subprocess.run([TOP / "scripts" / "env-windows", request.param], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs CPython {request.param} for Windows: {made.stderr.strip().splitlines()[-1]}")
    return Path(made.stdout.strip())
