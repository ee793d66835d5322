"""Each thing that moves has one shape, and settings are one shape too, wherever they were written."""

from __future__ import annotations

import inspect
from typing import get_type_hints

import pytest

from ec2ident_agent import errors as agent_errors
from ec2ident_agent.errors import KernelError
from ec2ident_agent.failover import errors, settings
from ec2ident_agent.failover.pacemaker.parameters import settings_of
from ec2ident_agent.failover.parts.address import AddressPart
from ec2ident_agent.failover.parts.dns import DnsPart
from ec2ident_agent.failover.parts.eni import EniPart
from ec2ident_agent.failover.parts.order import parts_of
from ec2ident_agent.failover.parts.part import Finding, HeldAddress, Planned
from ec2ident_agent.failover.parts.route import RoutePart
from tests.failover.conftest import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.failover.fake import Fake

PARTS = (EniPart, AddressPart, RoutePart, DnsPart)
SHAPE = {
    "look": ["self", "session", "earlier"],
    "decide": ["self", "sight", "expect"],
    "plan": ["self", "decision"],
    "run": ["self", "session", "decision"],
    "undo": ["self", "decision", "findings"],
    "verify": ["self", "session"],
    "release": ["self", "session"],
}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_the_same_seven_steps(part: type[object]) -> None:
    """A take-over, a verb and a monitor then need to know nothing else of it."""
    found = {name: [*inspect.signature(getattr(part, name)).parameters] for name in SHAPE}

    assert SHAPE == found


def test_the_parts_of_a_service_stand_in_the_order_of_a_move() -> None:
    """The ENI first, as the others may need it; the address before the traffic; the name last."""
    text = """
    [service.db]
    overlay = "192.168.10.5"
    route.vpc = "vpc-0a1b2c3d"
    eni.id = "eni-0a1b2c3d"
    dns = { zone = "Z1", name = "db.example.corp" }
    """
    service = settings.parse(text.encode()).service("db")
    here: Any = object()

    assert ["eni", "address", "route", "dns"] == [part.name for part in parts_of(service, here)]
    assert ["eni", "route", "dns"] == [part.name for part in parts_of(service)]


def test_a_step_that_changes_nothing_is_a_comment() -> None:
    """So a plan can be pasted into a shell."""
    assert "# read back: aws ec2 describe-x" == str(Planned("aws ec2 describe-x", "read back:"))
    assert "aws ec2 replace-x" == str(Planned("aws ec2 replace-x"))


class Here:
    """A node that refuses one address."""

    def __init__(self, refused: str) -> None:
        self.refused, self.held = refused, list[str]()

    def hold(self, address: str, device: str, label: str) -> list[str]:
        if address == self.refused:
            raise KernelError(f"ip address add {address}: no")
        self.held.append(address)
        return [address]

    def release(self, address: str) -> None:
        self.held.remove(address)


def test_of_several_addresses_all_are_held_or_none() -> None:
    """Those before the one that the kernel refuses are released again, and are not to be undone."""
    here: Any = Here("192.168.10.7/32")
    part = AddressPart(here, ("192.168.10.5/32", "192.168.10.6/32", "192.168.10.7/32"))
    findings: list[Finding] = []
    with pytest.raises(KernelError, match="no"):
        findings.extend(part.run(None, part.addresses))  # type: ignore[arg-type]

    assert [] == here.held
    assert () == part.undo(part.addresses, findings)


def test_addresses_are_undone_last_first() -> None:
    """As every other step."""
    part = AddressPart(None, ())  # type: ignore[arg-type]
    findings = [Finding("", HeldAddress("192.168.10.5/32")), Finding("note"), Finding("", HeldAddress("fd00::5/128"))]

    said = ["ec2ident-agent overlay del fd00::5/128", "ec2ident-agent overlay del 192.168.10.5/32"]
    assert said == [*part.undo((), findings)]


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (errors.UsageError, agent_errors.ConfigError),
        (errors.ApiUnknownError, agent_errors.UnknownError),
        (errors.OutOfTimeError, agent_errors.UnknownError),
        (errors.MalformedResponseError, agent_errors.UnknownError),
        (errors.CredentialsError, agent_errors.UnknownError),
        (errors.MoveRefusedError, agent_errors.RefusedError),
    ],
)
def test_one_except_serves_both_programs(
    error: type[errors.FailoverError], base: type[agent_errors.AgentError]
) -> None:
    """An error of failover is the agent's error of the same meaning, with the same exit code."""
    assert issubclass(error, base)
    assert error("").exit == base("").exit


PROFILE = "team-\U0001f600"


def test_a_text_is_the_same_from_file_flag_and_parameter(aws: Fake, run: Callable[..., Any]) -> None:
    """Whatever characters it has: nothing writes it down for a reader in between."""
    values = {"zone": "Z1", "name": "db.example.corp", "profile": PROFILE}

    assert PROFILE == settings.parse(f'profile = "{PROFILE}"'.encode()).profile
    assert PROFILE == settings_of("dns", values).profile
    code, _, log = run("policy", "--profile", PROFILE)
    assert (0, "") == (code, log)


def test_an_error_names_the_flag_or_the_key_that_was_written(
    aws: Fake, run: Callable[..., Any], tmp_path: Path
) -> None:
    """A flag in place of a key is named as the flag, and the file is named for its keys alone."""
    config = configuration(aws, f'[service.db.eni]\nid = "{aws.lab.service_eni}"\ngrace = -1')
    path = tmp_path / "failover.toml"

    code, _, log = run("eni", "move", "db", config=config)
    line = path.read_text().splitlines().index("grace = -1") + 1
    assert (2, f"ec2ident-failover: {path}:{line}: service.db.eni.grace: -1 is not from 0 to 3600\n") == (code, log)
    for words, said in (
        (("eni", "move", "--id", "eni-xyz"), "--id: 'eni-xyz' is not the id of a network interface (eni-…)"),
        (("eni", "move", "--id", "eni-0a1b2c3d", "--grace", "-2"), "--grace: -2.0 is not from 0 to 3600"),
        (("route", "show", "db", "--region", "moon"), "--region: 'moon' is not the name of a region"),
        (("route", "show", "db", "--profile", "\udcff"), "--profile: '\\udcff' is not UTF-8"),
        (("route", "show", "db", "--endpoint", "file:///x"), "--endpoint: 'file:///x' is not https://HOST[:PORT]"),
        (
            ("dns", "show", "--zone", "z 1", "--name", "a.b"),
            "--zone: 'z 1' is not the id of a hosted zone (Z…) and not its name (example.corp)",
        ),
        (
            ("route", "show", "--overlay", "192.168.10.5"),
            "--table, --tag, --vpc: give either ids, or a tag KEY=VALUE, or a VPC",
        ),
    ):
        assert (2, [], f"ec2ident-failover: {said}\n") == run(*words)
    code, _, log = run("eni", "move", "db", "--grace", "2")
    assert (2, f"ec2ident-failover: {path}: service.db: has no eni\n") == (code, log)


def test_a_service_with_a_dot_in_its_name_takes_flags(aws: Fake, run: Callable[..., Any]) -> None:
    """TOML allows any text in quotes as a name."""
    config = configuration(aws).replace("[service.db", '[service."my.db"')
    code, lines, log = run("route", "ensure", "my.db", "--eni", aws.lab.eni2, config=config)

    assert (0, 2) == (code, len(lines)), log
    assert all(f"right -> {aws.lab.eni2}" in line for line in lines)


def test_flags_are_not_a_service_of_their_own(aws: Fake, run: Callable[..., Any]) -> None:
    """A flag beside a misspelt name changes nothing, and does not make a service of that name."""
    code, lines, log = run("route", "ensure", "bd", "--eni", aws.lab.eni2)

    assert (2, []) == (code, lines)
    assert "no [service.bd] in" in log


def test_the_types_of_a_part_are_known_to_checkers_only() -> None:
    """Importing a part does not import typing: a monitor runs every ten seconds."""
    with pytest.raises(NameError):
        get_type_hints(RoutePart.look)
