"""What every test may use: the --full switch, and the honest skip of tests that need root."""

from __future__ import annotations

import functools
import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

if not __debug__:
    pytest.exit("PYTHONOPTIMIZE (python -O) removes assertions, and with them the tests: unset it", 4)

# A slow example is a busy machine's, and no failure.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


#: The files that take longest, minutes each; the processes share the files, and these begin.
LONGEST = ("vm/test_systemd.py", "failover/pacemaker/test_cluster.py", "agent/test_managers.py", "wine/test_windows.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run what takes long: real daemons, clusters, machines")
    parser.addoption(
        "--stale",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how old a read of a cluster's API may be; default 2",
    )
    parser.addoption("--matrix", metavar="FILE", help="put the table of who mended what at a file's end")


def pytest_configure(config: pytest.Config) -> None:
    """Keep bytecode, also where PYTHONDONTWRITEBYTECODE is set (many containers set it), for a third of the time.

    Without it each of the suite's processes compiles every test again, and each command that a test starts the product.
    Where pytest keeps no cache (-p no:cacheprovider), Python keeps none either: scripts/mutants changes files within
    the second by which Python tells an old one.
    """
    if config.pluginmanager.hasplugin("cacheprovider"):
        sys.dont_write_bytecode = False
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A long value is named by its length: pytest for Python 3.9 makes a name of 100 MB of a value of 100 MB."""
    return f"{argname} of {len(val)}" if isinstance(val, (str, bytes)) and len(val) > 200 else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        items.sort(key=lambda item: not str(item.path).endswith(LONGEST))
    root = sys.platform == "linux" and os.geteuid() == 0
    for item in items:
        if item.get_closest_marker("full") and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="takes long: runs with --full"))
        if item.get_closest_marker("root") and not root:
            item.add_marker(pytest.mark.skip(reason="needs root on Linux, for a network namespace of its own"))
        if item.get_closest_marker("ipv6") and not has_ipv6():
            item.add_marker(pytest.mark.skip(reason="needs IPv6: nothing listens on ::1 here"))


@functools.cache
def has_ipv6() -> bool:
    """Whether this machine has the loopback address ::1; in many containers IPv6 is switched off."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user may enter, and with a path that a socket may have (108 bytes, unix(7)).

    pytest's own is closed to other users, and as long as TMPDIR makes it.
    """
    with tempfile.TemporaryDirectory(prefix="ec2ident-", dir="/tmp" if os.path.isdir("/tmp") else None) as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)
