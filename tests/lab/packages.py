"""Debian packages for tests, unpacked into a cache and never installed: none of their daemons can start here.

`tree("network-manager")` is a directory that looks like the file system root with just the files of that package and
of what it needs and the machine does not have. An Enclosure mounts it over the machine's own.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .modes import umask


class Unavailable(Exception):  # noqa: N818  a state of the world, not a fault
    """The packages cannot be had here; the text says why, for the reason of a skip."""


@functools.cache
def tree(*names: str) -> Path:
    """The directory with the packages' files; fetched once, and again when the machine's own packages change.

    Raises Unavailable where this is not Debian or the archive cannot be reached.
    """
    if not shutil.which("apt-get"):
        raise Unavailable(f"{', '.join(names)}: needs a Debian machine with apt-get")
    try:
        return _made(names)
    except Unavailable:
        # A fresh machine has no package lists, and old lists name versions that the archive has no more.
        _apt("update")
        return _made(names)


def _made(names: tuple[str, ...]) -> Path:
    wanted = _wanted(names)
    key = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:12]
    ready = cache() / f"{names[0]}-{key}"
    if not ready.exists():
        with umask(), tempfile.TemporaryDirectory(dir=ready.parent, prefix="fetch-") as work:
            _fetch(wanted, Path(work, "debs"))
            _unpack(Path(work, "debs"), Path(work, "tree"))
            _rename(Path(work, "tree"), ready)
    return ready


def _wanted(names: tuple[str, ...]) -> list[str]:
    """What to fetch. To ask apt takes a second: its answer is kept until its lists or the machine's packages change."""
    changed = [Path("/var/lib", each).stat().st_mtime_ns for each in ("dpkg/status", "apt/lists")]
    question = " ".join(map(str, [*names, *changed]))
    kept = cache() / f"{names[0]}.plan"
    asked, _, answer = kept.read_text().partition("\n") if kept.exists() else ("", "", "")
    if asked != question:
        answer = " ".join(_missing(names))
        kept.write_text(f"{question}\n{answer}")
    return answer.split()


def _rename(made: Path, ready: Path) -> None:
    try:
        made.rename(ready)
    except OSError:
        # Another test run was faster; its tree is as good.
        if not ready.exists():
            raise


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base, "ec2ident-lab")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _missing(names: tuple[str, ...]) -> list[str]:
    """`name=version` of all that an installation would bring."""
    planned = _apt("--simulate", "--no-install-recommends", "install", *names)
    return sorted("=".join(found) for found in re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", planned, re.MULTILINE))


def _apt(*arguments: str, directory: Path | None = None) -> str:
    done = subprocess.run(
        ["apt-get", "-q", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", *arguments],
        cwd=directory,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise Unavailable(f"apt-get {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _fetch(packages: list[str], directory: Path) -> None:
    directory.mkdir()
    if packages:
        _apt("download", *packages, directory=directory)


def _unpack(debs: Path, root: Path) -> None:
    root.mkdir()
    for deb in sorted(debs.iterdir()):
        subprocess.run(["dpkg-deb", "--extract", deb, root], check=True, capture_output=True, timeout=300)
    # Packages may still ship /bin, /sbin and /lib, which on a machine are links into /usr.
    for name in ("bin", "sbin", "lib", "lib64"):
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)
    for name in ("etc", "usr", "var"):
        (root / name).mkdir(exist_ok=True)
