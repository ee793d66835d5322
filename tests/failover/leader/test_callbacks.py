"""What Patroni's and repmgr's calls mean for a service."""

from __future__ import annotations

import pytest

from ec2ident_agent.failover.errors import UsageError
from ec2ident_agent.failover.leader.callbacks import NOTHING, RELEASE, TAKE, patroni, repmgr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.failover.fake import Fake


@pytest.mark.parametrize(
    ("action", "role", "meaning"),
    [
        ("on_role_change", "primary", TAKE),
        ("on_role_change", "master", TAKE),  # before Patroni 4
        ("on_start", "primary", TAKE),
        ("on_restart", "primary", TAKE),
        ("on_role_change", "replica", RELEASE),
        ("on_start", "replica", RELEASE),
        ("on_role_change", "standby_leader", RELEASE),
        ("on_role_change", "demoted", RELEASE),
        ("on_stop", "primary", RELEASE),
        ("on_stop", "replica", RELEASE),
        ("on_reload", "primary", NOTHING),
        ("on_reload", "replica", NOTHING),
    ],
)
def test_patroni(action: str, role: str, meaning: str) -> None:
    """A leader that stops gives the service away; a role that is not the leader's does not hold it."""
    assert meaning == patroni([action, role, "main"])


@pytest.mark.parametrize(
    ("event", "success", "meaning"),
    [
        ("repmgrd_failover_promote", "1", TAKE),
        ("standby_promote", "1", TAKE),
        ("standby_switchover", "1", TAKE),
        ("repmgrd_failover_follow", "1", RELEASE),
        ("standby_follow", "1", RELEASE),
        ("node_rejoin", "1", RELEASE),
        ("standby_promote", "0", NOTHING),
        ("standby_follow", "0", NOTHING),
        ("repmgrd_start", "1", NOTHING),
        ("cluster_cleanup", "1", NOTHING),
    ],
)
def test_repmgr(event: str, success: str, meaning: str) -> None:
    """An event that failed changed no role."""
    assert meaning == repmgr([event, success])


@pytest.mark.parametrize("words", [[], ["on_start"], ["on_start", "primary"], ["restart", "primary", "main"]])
def test_a_call_that_is_not_patronis_is_refused(words: list[str]) -> None:
    """Rather than to release a service because of a typing error."""
    with pytest.raises(UsageError, match="as Patroni calls it"):
        patroni(words)


@pytest.mark.parametrize("words", [["standby_promote"], ["standby_promote", "yes"], ["1", "standby_promote"]])
def test_a_call_that_is_not_repmgrs_is_refused(words: list[str]) -> None:
    """The configuration must hand on event and success, in this order."""
    with pytest.raises(UsageError, match="%e %s"):
        repmgr(words)


NAME_ALONE = """
region = "us-east-1"
endpoint = "{url}"
[service.db.dns]
zone = "{zone}"
name = "db.awslab.mycompany.corp"
values = "10.0.0.11"
"""


def test_a_callback_takes_the_service_by_the_same_code_as_a_takeover(aws: Fake, run: Callable[..., Any]) -> None:
    """A callback that means nothing writes nothing."""
    config = NAME_ALONE.format(url=aws.url, zone=aws.lab.zone)
    for words in (("on_reload", "primary"),):
        assert 0 == run("callback", "patroni", "db", *words, "main", config=config)[0]
    assert [] == aws.calls("ChangeResourceRecordSets")
    assert 0 == run("callback", "patroni", "db", "on_role_change", "primary", "main", config=config)[0]
    assert 1 == len(aws.calls("ChangeResourceRecordSets"))
    assert 0 == run("callback", "repmgr", "db", "standby_promote", "1", config=config)[0]
    assert 2 == len(aws.calls("ChangeResourceRecordSets"))
    assert 2 == run("callback", "repmgr", "db", "standby_promote", config=config)[0]
