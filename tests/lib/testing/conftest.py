"""The metadata service for tests, at a time that a test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ec2ident.testing import MetadataService
from tests.lib.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def imds(clock: Clock) -> Iterator[MetadataService]:
    with MetadataService(clock=clock) as service:
        yield service
