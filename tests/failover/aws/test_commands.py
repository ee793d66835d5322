"""The command that a plan prints is what the program sends: the AWS CLI, from AWS's own models, makes the same request.

Neither the names of the fields nor the spelling of the commands are believed of this project's own fake then. It holds
the calls that no public simulation of EC2 answers too, such as those of delegated prefixes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest

from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.client import _wire
from ec2ident_agent.failover.aws.model import RecordSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ec2ident_agent.failover.aws.actions import ApiCall

ENI, NODE, TABLE, VPC = "eni-0123456789abcdef0", "i-0123456789abcdef0", "rtb-0123456789abcdef0", "vpc-0123456789abcdef0"
ACCOUNT, NAME = "123456789012", "db.awslab.mycompany.corp"
RECORDS = [RecordSet(NAME, "A", 10, ("10.0.0.1", "10.0.0.2")), RecordSet(NAME, "AAAA", 10, ("fd00::1",))]

CALLS = (
    actions.describe_tables({"route-table-id": [TABLE, "rtb-1"], "vpc-id": [VPC]}),
    actions.describe_interfaces({"tag:Name": ["db"]}),
    actions.describe_instance(NODE),
    actions.describe_vpc_attribute(VPC, "enableDnsSupport"),
    *(
        call
        for destination in ("192.168.10.5/32", "fd00::5/128")
        for call in (
            actions.create_route(TABLE, ACCOUNT, destination, ENI),
            actions.replace_route(TABLE, ACCOUNT, destination, ENI),
            actions.delete_route(TABLE, ACCOUNT, destination),
        )
    ),
    actions.source_dest_check(ENI, ACCOUNT, True),
    actions.source_dest_check(ENI, ACCOUNT, False),
    actions.attach(ENI, NODE, 2, ACCOUNT),
    actions.attach(ENI, NODE, 2, ACCOUNT, dry=True),
    actions.detach("eni-attach-1", ENI, NODE, ACCOUNT),
    actions.detach("eni-attach-1", ENI, NODE, ACCOUNT, force=True),
    *(
        call
        for key in ("10.0.0.50", "10.0.0.64/28", "2001:db8::50", "2001:db8:0:1::/80")
        for call in (
            actions.assign(ENI, ACCOUNT, key, reassign=True),
            actions.assign(ENI, ACCOUNT, key, reassign=False),
            actions.unassign(ENI, ACCOUNT, key),
        )
    ),
    actions.describe_addresses("eipalloc-1"),
    actions.associate("eipalloc-1", ENI, ACCOUNT, reassign=True),
    actions.associate("eipalloc-1", ENI, ACCOUNT, "10.0.0.50", reassign=False),
    actions.create_interface(
        "subnet-1", "10.0.1.5", ["sg-1", "sg-2"], "it's here", "token", tags={"a": "b c", "d": "e"}
    ),
    actions.create_interface("subnet-1", "2001:db8::5", [], "", "token"),
    actions.modify_vpc(VPC, "enableDnsSupport"),
    actions.modify_vpc(VPC, "enableDnsHostnames"),
    actions.get_zone("Z1"),
    actions.zones_by_name("awslab.mycompany.corp."),
    actions.list_records("Z1", NAME, "A"),
    actions.change_records("Z1", "UPSERT", RECORDS),
    actions.exchange_records("Z1", RECORDS[0], RecordSet(NAME, "A", 60, ("10.0.0.9",))),
    actions.exchange_records("Z1", RECORDS[0], None),
    actions.get_change("C1"),
    actions.create_zone("awslab.mycompany.corp.", VPC, "eu-west-1", "token"),
    actions.associate_zone("Z1", VPC, "eu-west-1"),
    actions.list_zone_tags("Z1"),
    actions.tag_zone("Z1", {"a": "b & c", "d": "e"}),
    actions.assume_role(f"arn:aws:iam::{ACCOUNT}:role/x", "node"),
    actions.caller_identity(),
)

#: What the command says in words of its own: how many rows a page has is nothing that a person asks for.
UNSAID = {"maxitems"}
#: What the program asks for and the commands leave to the default of the service.
UNSAID_OF = {"AssumeRole": {"DurationSeconds"}}

#: Runs each command in the AWS CLI, of which every request is answered in place of being sent.
CLI = """
import contextlib, io, json, shlex, sys
from awscli.clidriver import create_clidriver
from botocore.awsrequest import AWSResponse

class Raw(io.BytesIO):
    def stream(self, **_):
        return iter([self.read()])

def answer(request, **_):
    body = request.body or b""
    sent.append((request.method, request.url, body if isinstance(body, str) else body.decode()))
    return AWSResponse(request.url, 400, {}, Raw(b"<Response/>"))

def fresh():
    made = create_clidriver()
    made.session.register("before-send", answer)
    return made

driver, found = fresh(), []
for command in json.load(sys.stdin):
    # One command leaves handlers behind that another stumbles over; a process of the AWS CLI runs one command.
    for driver in (driver, fresh):
        driver = driver() if driver is fresh else driver
        sent, said = [], io.StringIO()
        with contextlib.redirect_stderr(said):
            driver.main([*shlex.split(command)[1:], "--region", "eu-west-1"])
        if sent:
            break
    found.append([*sent, said.getvalue()][0])
json.dump(found, sys.stdout)
"""


def request(method: str, path: str, query: str, body: str) -> Any:
    """What a service reads, without the order of fields."""
    if body.startswith("<"):
        return method, path, ElementTree.canonicalize(body)
    return method, path, dict(parse_qsl(query)), dict(parse_qsl(body, keep_blank_values=True))


def without(fields: Mapping[str, str], call: ApiCall) -> dict[str, str]:
    hidden = UNSAID | UNSAID_OF.get(call.action, set())
    return {name: value for name, value in fields.items() if name not in hidden}


def test_each_command_is_the_request_that_is_sent(tmp_path: Path) -> None:
    """Method, path, query, and the fields or the XML of the body."""
    if not find_spec("awscli"):
        pytest.skip("the AWS CLI (PyPI: awscli) is not installed")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "AWS_ACCESS_KEY_ID": "AKIDWITNESS",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLI],
        input=json.dumps(list(map(str, CALLS))),
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    for call, sent in zip(CALLS, json.loads(done.stdout)):
        assert len(sent) == 3, f"{call}: {sent}"
        query, body = _wire(call)
        parts = urlsplit(sent[1])
        theirs = request(sent[0], parts.path.rstrip("/"), parts.query, sent[2])
        ours = request(call.method, call.path.rstrip("/"), query, body.decode())
        if len(ours) == 4:
            ours = (*ours[:2], *(without(fields, call) for fields in ours[2:]))
        assert theirs == ours, str(call)


def test_every_call_is_there() -> None:
    """A new call is held against the AWS CLI too."""
    made = {call.action for call in CALLS}
    source = Path(actions.__file__).read_text(encoding="utf-8")

    assert 25 <= len(made)
    for action in set(re.findall(r'^        "([A-Z][A-Za-z0-9]+)",$', source, 8)):
        assert action in made, action
