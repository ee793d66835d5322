"""Fixtures for pytest: `pytest_plugins = ["ec2ident.testing.pytest_plugin"]` in a conftest.py."""

from __future__ import annotations

import pytest

from .service import MetadataService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .signing import Authority


@pytest.fixture(scope="session")
def metadata_authority() -> Authority:
    """The throw-away authority of the whole session: making its keys takes a moment."""
    from .signing import Authority

    return Authority()


@pytest.fixture
def metadata_service(metadata_authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataService]:
    """A metadata service on a free port of 127.0.0.1, which botocore and its like are pointed at for this test."""
    with MetadataService(authority=metadata_authority) as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{service.endpoint}/")
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
        yield service
