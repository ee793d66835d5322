"""What every test may use: the --full switch, and the honest skip of tests that need root."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# A slow example is a busy machine's, and no failure.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run what takes long: real daemons, clusters, machines")
    parser.addoption("--matrix", metavar="FILE", help="put the table of who mended what at a file's end")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = sys.platform == "linux" and os.geteuid() == 0
    for item in items:
        if item.get_closest_marker("full") and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="takes long: runs with --full"))
        if item.get_closest_marker("root") and not root:
            item.add_marker(pytest.mark.skip(reason="needs root on Linux, for a network namespace of its own"))
