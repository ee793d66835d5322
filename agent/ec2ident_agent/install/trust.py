"""What root will run once the hooks are installed: the program, its Python, and the directories Python loads code from.

All of it must be root's along its whole path. In a directory that another user may write, that user decides what root
runs at the next event of the network.
"""

from __future__ import annotations

import os
import shlex

from ec2ident_agent.errors import RefusedError

from .rootfs import Directory, File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rootfs import RootFs

#: Our packages in a directory of Python's: a development install may have them elsewhere.
PACKAGES = ("ec2ident", "ec2ident_agent")


def interpreter(tree: RootFs, program: str) -> str:
    """The Python that a program names in its first line; empty for a program of another kind or one that is missing.

    pip writes `#!/bin/sh` and a second line with exec where a path is too long or has a space (distlib's scripts.py).
    """
    try:
        here = tree.look(tree.follow(program))
    except OSError:
        return ""
    if not isinstance(here, File) or not here.content.startswith(b"#!"):
        return ""
    first, second = [line.decode("utf-8", "surrogateescape") for line in (*here.content.split(b"\n"), b"")[:2]]
    try:
        words = first[2:].split()
        if words == ["/bin/sh"] and second.startswith("'''exec'"):
            words = shlex.split(second)[1:]
    except ValueError:
        return ""
    found = words[0] if words else ""
    return found if found.startswith("/") and os.path.basename(found).startswith(("python", "pypy")) else ""


def check_trust(tree: RootFs, program: str) -> None:
    """Raise RefusedError if another user could change what the hooks run. What is missing cannot be judged, and passes.

    Raises OSError.
    """
    for path in dict.fromkeys(_paths(tree, program)):
        wrong = tree.untrusted(path)
        if wrong:
            raise RefusedError(
                f"{path}: {wrong}; root would run what that user writes. Install the package as root into a directory"
                " of root's, for example a virtual environment in /opt; nothing was changed"
            )


def _paths(tree: RootFs, program: str) -> Iterator[str]:
    yield program
    python = interpreter(tree, program)
    if not python:
        return
    yield python
    # A virtual environment's Python is a link to the one that it was made with; both have directories of their own.
    prefixes = [os.path.dirname(os.path.dirname(path)) for path in (python, tree.follow(python))]
    for prefix in [*prefixes, *(["/usr/local"] if "/usr" in prefixes else [])]:
        yield from _libraries(tree, prefix)
    if tree.root == "/" and python == _own_python():
        for name in PACKAGES:
            yield _package(name)


def _libraries(tree: RootFs, prefix: str) -> Iterator[str]:
    """The directories from which a Python with this prefix loads code, and our packages in them."""
    for lib in (f"{prefix}/lib", f"{prefix}/lib64"):
        here = tree.look(tree.follow(lib))
        for name in here.names if isinstance(here, Directory) else ():
            if name.startswith(("python3", "pypy3")):
                yield f"{lib}/{name}"
                for site in ("site-packages", "dist-packages"):
                    yield f"{lib}/{name}/{site}"
                    yield from (f"{lib}/{name}/{site}/{package}" for package in PACKAGES)


def _own_python() -> str:
    import sys

    return sys.executable


def _package(name: str) -> str:
    from importlib.util import find_spec

    spec = find_spec(name)
    return os.path.dirname(spec.origin) if spec and spec.origin else "/"
