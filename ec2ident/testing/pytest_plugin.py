"""Fixtures for pytest, found without registration: `on_ec2`, `not_on_ec2`, `metadata_service`, `metadata_authority`.

pytest loads this module in every project of an environment that has ec2ident, so each fixture imports what it needs
when it is used.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .service import MetadataService
    from .signing import Authority


@pytest.fixture(scope="session")
def metadata_authority() -> Authority:
    """The throw-away authority of the whole session: making its keys takes a moment."""
    from .signing import Authority

    return Authority()


@pytest.fixture
def metadata_service(metadata_authority: Authority) -> Iterator[MetadataService]:
    """A metadata service on a free port of 127.0.0.1, which this library and SDKs find in place of EC2's.

    The machine's firmware and AWS's keys stay what they are; `on_ec2` changes them too.
    """
    from .pretending import redirected
    from .service import MetadataService

    with MetadataService(authority=metadata_authority) as service, redirected(service):
        yield service


@pytest.fixture
def on_ec2(metadata_authority: Authority) -> Iterator[MetadataService]:
    """This machine is an EC2 instance (`ec2ident.testing.pretend`): the service that says so, to steer it."""
    from .pretending import pretend

    with pretend(authority=metadata_authority) as service:
        yield service


@pytest.fixture
def not_on_ec2(metadata_authority: Authority) -> Iterator[None]:
    """This machine is a virtual machine elsewhere, and EC2's metadata addresses cannot be reached."""
    from .pretending import pretend

    with pretend(None, authority=metadata_authority):
        yield
