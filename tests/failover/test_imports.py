"""What an action may load: a monitor runs every ten seconds on every node."""

from __future__ import annotations

import pytest

from tests.test_structure import loaded_by

LIGHT = (
    *("aws.client", "aws.deadline", "aws.forms", "this_instance", "errors", "agent_bridge", "takeover"),
    *("parts.part", "parts.order", "parts.route", "parts.eni", "parts.dns", "parts.address", "parts.bgp"),
    *("iam.policy", "dns.bind", "dns.corporate", "dns.resolver"),
    *("leader.hold", "leader.question", "leader.callbacks", "records.audit"),
    *("session", "settings", "selectors"),
    *("pacemaker.agent", "pacemaker.local_state"),
)
HEAVY = {"botocore", "boto3", "requests", "http.client", "ssl", "json", "argparse", "typing", "xml.etree.ElementTree"}


@pytest.mark.parametrize("module", LIGHT)
def test_importing_a_module_loads_nothing_heavy(module: str) -> None:
    """What a call needs is loaded by the call: TLS, JSON and botocore only where they are used."""
    assert set() == HEAVY & (loaded_by(f"import ec2ident_agent.failover.{module}") - loaded_by("pass"))


def test_a_call_with_keys_of_the_environment_never_loads_botocore() -> None:
    """Nor the service models of anything: requests are built by hand."""
    code = """
from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.client import Access, Api
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.errors import OutOfTimeError
environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
api = Api(Access("us-east-1", endpoint="http://127.0.0.1:1"), Deadline(0.3), environ=environ)
try:
    api.call(actions.caller_identity())
except OutOfTimeError:
    pass
"""
    assert set() == {"botocore", "boto3", "requests", "json", "argparse"} & loaded_by(code)
