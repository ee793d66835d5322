"""The metadata clients that detect.py is compared with, in an environment of their own beside those of scripts/env."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[2] / ".venv" / "peers"
#: Names on PyPI. No release is pinned: the table names those that were measured, and without the file `made` in the
#: directory the next run installs the newest.
PACKAGES = ("ec2-metadata", "cloud-detect", "botocore")
PYTHON = str(DIRECTORY / "bin" / "python")

_VERSIONS = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"


def versions() -> dict[str, str]:
    """The peers and their releases, installed where they are missing; none of them where that fails."""
    made = DIRECTORY / "made"
    what = f"{sys.version}\n{' '.join(PACKAGES)}\n"
    try:
        if not made.exists() or made.read_text(encoding="utf-8") != what:
            _run(sys.executable, "-m", "venv", "--clear", str(DIRECTORY))
            _run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES)
            made.write_text(what, encoding="utf-8")
        return dict(zip(PACKAGES, _run(PYTHON, "-c", _VERSIONS, *PACKAGES).split()))
    except subprocess.CalledProcessError as failed:
        why = (failed.stderr.strip().splitlines() or [f"exit code {failed.returncode}"])[-1]
        print(f"the peers {', '.join(PACKAGES)} are not measured: {why}", file=sys.stderr)
        return {}


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
