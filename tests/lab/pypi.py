"""Programs from PyPI for tests, in a virtual environment of the machine's own Python that every user may read."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from .modes import umask
from .packages import Unavailable, cache

PYTHON = "/usr/bin/python3"


def environment(*requirements: str) -> Path:
    """The directory of the environment, made once. It may be copied: start its programs by its `bin/python3`.

    Raises Unavailable where it cannot be made.
    """
    key = hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:12]
    ready = cache() / f"pypi-{key}"
    if not ready.exists():
        with umask(), tempfile.TemporaryDirectory(dir=ready.parent, prefix="fetch-") as work:
            made = Path(work, "venv")
            _run(PYTHON, "-m", "venv", str(made))
            _run(str(made / "bin/python3"), "-m", "pip", "install", "--quiet", *requirements)
            shutil.move(made, ready)
    return ready


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
