"""A real Patroni with a real PostgreSQL: the service is where the leader is, by `hold` and by callbacks.

Two nodes in two zones have a database each; a third node gives Patroni's own raft its third vote. `hold` moves the
overlay address by asking Patroni's REST API, callbacks move the name. Patroni runs as an ordinary user, so its
callbacks move what needs no root.
"""

from __future__ import annotations

import os
import shutil
import time

import pytest

from tests.failover.cluster.pair import TOP
from tests.failover.environment import ENVIRONMENT
from tests.failover.region.addresses import NAME, OVERLAY
from tests.lab import packages, pypi
from tests.lab.enclosure import wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.failover.cluster.pair import Machine
    from tests.failover.region.region import Region

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(240)]

EXAMPLE = TOP / "agent/ec2ident_agent/install/data/engines/patroni.yml"
#: "nobody": PostgreSQL does not run as root.
USER = 65534
ORDINARY = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
RELEASE_AFTER = 3

CONFIGURATION = """
scope: lab
name: {name}
restapi: {{listen: '0.0.0.0:8008', connect_address: '{address}:8008'}}
raft: {{data_dir: /run/pg/raft, self_addr: '{address}:2222', partner_addrs: [{partners}]}}
bootstrap:
  dcs: {{ttl: 20, loop_wait: 1, retry_timeout: 3}}
  initdb: [{{encoding: UTF8}}, no-sync]
postgresql:
  listen: '0.0.0.0:5432'
  connect_address: '{address}:5432'
  data_dir: /run/pg/data
  bin_dir: {binaries}
  pgpass: /run/pg/pgpass
  authentication:
    superuser: {{username: postgres, password: lab}}
    replication: {{username: replicator, password: lab}}
  parameters: {{unix_socket_directories: /run/pg, fsync: 'off', shared_buffers: 16MB}}
  pg_hba: ['local all all trust', 'host all all all trust', 'host replication all all trust']
"""
HOLD = f"""
[service.overlay.hold]
leader = "http://127.0.0.1:8008/primary"
release_after = {RELEASE_AFTER}
"""


class Databases:
    """The leader and the other one."""

    def __init__(self, found: Region, environment: Path) -> None:
        self.region = found
        self.first, self.witness, self.second = found.machines
        for machine in found.machines:
            self._install(machine, environment)
        patroni = ("/run/patroni/bin/python3", "/run/patroni/bin/patroni")
        controller = ("/run/patroni/bin/python3", "/run/patroni/bin/patroni_raft_controller")
        for machine in found.machines:
            program = controller if machine is self.witness else patroni
            machine.inside.start(*ORDINARY, "env", "HOME=/run/pg", *program, "/run/pg/patroni.yml", log="patroni")
        for machine in (self.first, self.second):
            machine.inside.start(
                "env", f"PATH=/run/bin:{os.defpath}", "ec2ident-failover", "hold", "overlay", log="hold"
            )

    def _install(self, machine: Machine, environment: Path) -> None:
        inside = machine.inside
        shutil.copytree(environment, inside.path("/run/patroni"), symlinks=True)
        binaries = sorted(inside.path("/usr/lib/postgresql").glob("*/bin"))[-1]
        partners = ", ".join(f"'{each.address}:2222'" for each in self.region.machines if each is not machine)
        text = CONFIGURATION.format(
            name=machine.name,
            address=machine.address,
            partners=partners,
            binaries=f"/usr/lib/postgresql/{binaries.parent.name}/bin",
        )
        # The example's own lines; in the lab the user of Patroni may do what sudo allows elsewhere.
        callbacks = EXAMPLE.read_text().partition("postgresql:\n")[2]
        assert callbacks.count("sudo -n /usr/local/bin/ec2ident-failover callback patroni db") == 3
        text += callbacks.replace("sudo -n /usr/local/bin/", "/run/open/").replace(" patroni db", " patroni name")
        # The Python of the tests may be one that an ordinary user cannot read.
        for source in (TOP / "ec2ident", TOP / "agent/ec2ident_agent"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, inside.path("/run/open") / source.name, ignore=ignored)
        variables = "".join(f"export {name}='{value}'\n" for name, value in ENVIRONMENT.items())
        program = 'PYTHONPATH=/run/open exec /usr/bin/python3 -m ec2ident_agent.failover.cli "$@"'
        inside.write("/run/open/ec2ident-failover", f"#!/bin/sh\n{variables}{program}\n", 0o755)
        inside.write("/run/pg/patroni.yml", text)
        inside.path("/run/pg").chmod(0o700)
        for path in ("/run/pg", "/run/pg/patroni.yml"):
            os.chown(inside.path(path), USER, USER)
        inside.write("/etc/ec2ident/failover.toml", inside.text("/etc/ec2ident/failover.toml") + HOLD)

    def ask(self, machine: Machine, path: str, body: str = "") -> str:
        """Patroni's answer to a GET, or to a POST where there is a body."""
        code = (
            "import sys, urllib.request, urllib.error\n"
            "try: print(urllib.request.urlopen(sys.argv[1], sys.argv[2].encode() or None, 20).read().decode())\n"
            "except urllib.error.HTTPError as e: print(e.code, e.read().decode())\n"
            "except OSError as e: print('none', e)\n"
        )
        return machine.inside.run("/usr/bin/python3", "-c", code, f"http://127.0.0.1:8008{path}", body).stdout

    def leads(self, machine: Machine) -> bool:
        return '"state": "running"' in self.ask(machine, "/primary")

    def has_all(self, machine: Machine) -> bool:
        """The overlay address answers from there, and the name says so."""
        return self.region.who(OVERLAY, timeout=0.3) == machine.name and [machine.address] == self.name

    @property
    def name(self) -> list[str]:
        return self.region.records_of().get(NAME, [])


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    pytest.importorskip("moto", "5.1", reason="needs moto")
    from tests.failover.region.region import region

    try:
        environment = pypi.environment("patroni[raft]", "psycopg2-binary")
        tree = packages.tree("postgresql")
    except packages.Unavailable as why:
        pytest.skip(str(why))
    with region(tree=tree) as found:
        yield Databases(found, environment)


def test_the_service_is_where_the_leader_is_and_follows_a_switchover(databases: Databases) -> None:
    """First the one that Patroni's own raft elects, then the other one; the old leader holds nothing."""
    both = {databases.first.name: databases.first, databases.second.name: databases.second}
    wait_until(lambda: any(map(databases.leads, both.values())), "one leads", 90)
    (leader,) = [each for each in both.values() if databases.leads(each)]
    wait_until(lambda: databases.has_all(leader), "the leader has the service", 30)
    (other,) = [each for each in both.values() if each is not leader]
    assert not other.answers(OVERLAY)

    wait_until(lambda: '"state": "streaming"' in databases.ask(leader, "/patroni"), "the other one replicates", 60)
    wait_until(lambda: "Successfully" in _switch(databases, leader, other), "Patroni switches over", 30)
    wait_until(lambda: databases.has_all(other), "the new leader has the service", 30)
    assert not leader.answers(OVERLAY)


def _switch(databases: Databases, leader: Machine, other: Machine) -> str:
    return databases.ask(leader, "/switchover", f'{{"leader": "{leader.name}", "candidate": "{other.name}"}}')


def test_a_leader_that_cannot_be_asked_holds_nothing(databases: Databases) -> None:
    """Patroni is stopped as by a machine that stalls; its database goes on, and no callback is called."""
    (leader,) = [each for each in (databases.first, databases.second) if each.answers(OVERLAY)]
    stop = ("sh", "-c", 'kill -STOP $(pgrep -f "^/run/patroni/bin/python3 /run/patroni/bin/patroni ")')
    leader.inside.read(*stop)
    stopped = time.monotonic()
    wait_until(lambda: not leader.answers(OVERLAY), "it is released", RELEASE_AFTER + 20)
    # A lease is never shorter than was promised: a question that is lost now and then must not end the service.
    assert time.monotonic() - stopped > RELEASE_AFTER - 2
    assert [leader.address] == databases.name
    leader.inside.read(*(word.replace("-STOP", "-CONT") for word in stop))
    wait_until(lambda: any(map(databases.has_all, (databases.first, databases.second))), "one has the service", 60)
