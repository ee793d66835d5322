"""The forwarder for resolvers outside the VPC: as text, to BIND's own checker, and served by a real BIND."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ec2ident.value import replace
from ec2ident_agent.failover.dns.bind import Forwarder, configuration
from ec2ident_agent.failover.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

ZONES = ("awslab.mycompany.corp", "us-east-1.compute.internal")
SIMPLE = Forwarder(("10.0.0.0/8",), ZONES, ("10.0.0.2",))


def test_each_zone_is_forwarded_and_excepted_from_validation() -> None:
    """A private zone has no chain of trust: without validate-except BIND answers SERVFAIL. Names without final dot."""
    found = configuration(replace(SIMPLE, zones=("AWSlab.mycompany.corp.", ZONES[1], ZONES[0])))

    assert 'validate-except { "awslab.mycompany.corp"; "us-east-1.compute.internal"; };' in found
    for zone in ZONES:
        block = f'zone "{zone}" IN {{\n    type forward;\n    forward only;\n    forwarders {{ 10.0.0.2; }};\n}};'
        assert 1 == found.count(block)
    assert "acl goodclients { 10.0.0.0/8; localhost; };" in found
    assert "dnssec-validation auto;" in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clients": ()}, "no client"),
        ({"zones": ()}, "no zone"),
        ({"forwarders": ()}, "no forwarder"),
        ({"clients": ("10.0.0.1/8",)}, "has host bits set"),
        ({"clients": ("any",)}, "does not appear to be"),
        ({"zones": ('x"; };',)}, "is not a domain name"),
        ({"zones": ("a..b",)}, "is not a domain name"),
        ({"forwarders": ("ns.example",)}, "not an IP address"),
        ({"directory": '/x"; }'}, "not an absolute path"),
        ({"log": "query.log"}, "not an absolute path"),
        ({"forwarders": ("fe80::1%x; }; y",)}, "not an IP address"),
        ({"listen": ("fe80::1%x; }; y",)}, "not an IP address"),
        ({"clients": ("fe80::1%x; }; y/128",)}, "not a CIDR block"),
        ({"port": 0}, "port 0 is not from 1 to 65535"),
        ({"port": 65536}, "is not from 1 to 65535"),
    ],
)
def test_what_would_be_a_wrong_file_is_refused(changes: dict[str, Any], said: str) -> None:
    """Nothing that is given can leave its place in the file."""
    with pytest.raises(UsageError, match=said):
        configuration(replace(SIMPLE, **changes))


@pytest.mark.parametrize("number", [1, 2, 40])
def test_binds_own_checker_takes_it(tmp_path: Path, number: int) -> None:
    """For any number of zones, both families, and ports."""
    if not shutil.which("named-checkconf"):
        pytest.skip("needs named-checkconf, from the Debian package bind9")
    odd = ("10.in-addr.arpa", "0/25.2.0.192.in-addr.arpa", "d.f.ip6.arpa", "_msdcs.example.corp", "xn--bcher-kva.corp")
    zones = tuple(odd[index] if index < len(odd) else f"z{index}.example.corp" for index in range(number))
    wanted = Forwarder(
        ("10.0.0.0/8", "fd00::/8"),
        zones,
        ("10.0.0.2", "fd00::2#5353"),
        ("10.1.0.1", "fd00::1"),
        5353,
        str(tmp_path),
        str(tmp_path / "queries.log"),
    )
    path = tmp_path / "named.conf"
    path.write_text(configuration(wanted))
    done = subprocess.run(["named-checkconf", "-p", str(path)], capture_output=True, text=True, timeout=30)

    assert (0, "") == (done.returncode, done.stderr)
    assert number == done.stdout.count("type forward;")


def test_the_command_line_prints_it(run: Callable[..., Any]) -> None:
    """Zones by option, or those of the configured records."""
    code, lines, _ = run("bind", "--client", "10.0.0.0/8", "--forwarder", "10.0.0.2", "--zone", "a.corp")

    assert (0, 1) == (code, len([line for line in lines if line.startswith("zone ")]))
    # A fresh machine has no /var/log/named, and without its log's directory BIND does not start.
    assert '        file "/var/cache/bind/queries.log" versions 3 size 10m;' in lines
    more = ("--client", "10.0.0.0/8", "--forwarder", "10.0.0.2", "--zone", "a.corp", "--directory", "/srv/")
    assert '        file "/srv/queries.log" versions 3 size 10m;' in run("bind", *more)[1]
    assert '        file "/x" versions 3 size 10m;' in run("bind", *more, "--log", "/x")[1]
    assert (2, "no client") == (lambda f: (f[0], f[2].strip()[-18:-9]))(run("bind"))


@pytest.fixture
def network() -> Iterator[tuple[Any, Any, Any]]:
    """The VPC's resolver, BIND's node, and a client; a wire from each to BIND's node."""
    from tests.lab.namespace import Namespace, unique

    vpc, node, client = (Namespace(unique(name)) for name in ("vpc", "bind", "client"))
    Namespace.add_all(vpc, node, client)
    try:
        for other, subnet in ((vpc, "10.99.1"), (client, "10.99.2")):
            link = other.name.rpartition("-")[2][:6]
            node.ip(f"link add {link} type veth peer name eth0 netns {other.name}")
            node.ip(f"address add {subnet}.1/24 dev {link}", f"link set {link} up")
            other.ip(f"address add {subnet}.2/24 dev eth0", "link set eth0 up", f"route add default via {subnet}.1")
        yield vpc, node, client
    finally:
        Namespace.remove_all(vpc, node, client)


@pytest.mark.root
@pytest.mark.full
def test_a_real_bind_serves_it(network: tuple[Any, Any, Any], tmp_path: Path) -> None:
    """UDP and TCP, both families, a name that is not there, a change, and answers to good clients only."""
    if not shutil.which("named") or not shutil.which("dig"):
        pytest.skip("needs named and dig, from the Debian packages bind9 and bind9-dnsutils")
    vpc, node, client = network
    table, directory = tmp_path / "table.json", tmp_path / "bind"
    directory.mkdir()
    name = f"db.{ZONES[0]}"
    table.write_text(json.dumps({name: ["10.0.0.11", "fd00::11"]}))
    stub = Path(__file__).with_name("stub_dns.py")
    serving = vpc.start(sys.executable, str(stub), "10.99.1.2", str(table), stdout=subprocess.PIPE)
    assert "ready\n" == serving.stdout.readline()
    wanted = Forwarder(
        ("10.99.2.0/24",),
        ZONES,
        ("10.99.1.2",),
        ("10.99.2.1", "10.99.1.1"),
        53,
        str(directory),
        str(directory / "queries.log"),
        str(directory / "named.pid"),
    )
    path = directory / "named.conf"
    path.write_text(configuration(wanted))
    with (directory / "stderr").open("w") as errors:
        named = node.start("named", "-f", "-c", str(path), stderr=errors)

    def dig(where: Any, *words: str, server: str = "10.99.2.1") -> str:
        found = where.run("dig", f"@{server}", "+time=2", "+tries=1", *words).stdout
        return str(found)

    deadline = time.monotonic() + 20
    while "status: NOERROR" not in dig(client, name) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "10.0.0.11\n" == dig(client, "+short", name), (directory / "stderr").read_text()
    assert "10.0.0.11\n" == dig(client, "+short", "+tcp", name)
    assert "fd00::11\n" == dig(client, "+short", name, "AAAA")
    assert "status: NXDOMAIN" in dig(client, f"other.{ZONES[1]}")
    assert "status: REFUSED" in dig(vpc, name, server="10.99.1.1")
    table.write_text(json.dumps({name: ["10.0.0.12"]}))
    deadline = time.monotonic() + 20
    while "10.0.0.12\n" != dig(client, "+short", name) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert "10.0.0.12\n" == dig(client, "+short", name)
    assert f"query: {name} IN A" in (directory / "queries.log").read_text()
    for process in (named, serving):
        process.terminate()
        process.wait(10)
    serving.stdout.close()
