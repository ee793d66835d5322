"""The virtual machine's kernel and initial RAM disk, made once for a session."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from tests.lab.packages import Unavailable, tree
from tests.vm.machine import build_image


@pytest.fixture(scope="session")
def kernel() -> Path:
    """Debian's kernel for clouds, unpacked and never installed."""
    if platform.machine() != "x86_64":
        pytest.skip(f"the firmware strings are a PC's, and this machine is {platform.machine()}")
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("needs qemu-system-x86_64 (Debian package qemu-system-x86)")
    try:
        root = tree("linux-image-cloud-amd64")
    except Unavailable as error:
        pytest.skip(f"needs a kernel: {error}")
    return next((root / "boot").glob("vmlinuz-*"))


@pytest.fixture(scope="session")
def image(kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The initial RAM disk with Python, ec2ident and dmidecode."""
    if not shutil.which("dmidecode", path="/usr/sbin:/usr/bin:/sbin:/bin"):
        pytest.skip("needs dmidecode")
    return build_image(tmp_path_factory.mktemp("image"))
