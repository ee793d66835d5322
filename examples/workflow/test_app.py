"""The fixtures `on_ec2` and `not_on_ec2` come with ec2ident; nothing needs to be registered."""

from __future__ import annotations

import pytest
from app import bucket, may_join

import ec2ident
from ec2ident.testing import Instance, MetadataService, pretend


def test_backups_stay_in_the_region(on_ec2: MetadataService) -> None:
    """The default instance is in eu-west-1."""
    assert bucket("backup") == "backup-eu-west-1"


def test_another_region() -> None:
    """Any instance, as a context."""
    with pretend(Instance(region="us-west-2")):
        assert bucket("backup") == "backup-us-west-2"


def test_backups_of_other_machines_go_to_the_office(not_on_ec2: None) -> None:
    """A virtual machine elsewhere; no metadata service is asked."""
    assert bucket("backup") == "backup-office"


@pytest.mark.parametrize("behaviour", ["disabled", "throttled", "hang-up", "captive-portal"])
def test_an_instance_that_cannot_tell_its_region_writes_nowhere(on_ec2: MetadataService, behaviour: str) -> None:
    """Each fault of the metadata service that your program may meet has a name (docs/testing.md)."""
    on_ec2.behave(behaviour)

    with pytest.raises(ec2ident.ImdsError):
        bucket("backup", timeout=0.5)


def test_only_instances_of_the_account_join(on_ec2: MetadataService) -> None:
    """The documents verify: while the fixture is in force, its throw-away authority stands in for AWS's keys."""
    item = ec2ident.Imds().identity_item("rsa2048")
    assert item

    assert may_join(item, on_ec2.instance.account_id)
    assert not may_join(item, "999999999999")


def test_a_forged_document_does_not_join(on_ec2: MetadataService) -> None:
    """The right form, and a stranger's signature."""
    on_ec2.behave("foreign-signatures")
    item = ec2ident.Imds().identity_item("rsa2048")
    assert item

    assert not may_join(item, on_ec2.instance.account_id)
