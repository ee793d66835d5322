"""The resolvers outside the VPC: lines as text, to each server's own checker, and asked through three real BINDs."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from contextlib import ExitStack

import pytest

from ec2ident_agent.failover.dns.bind import Forwarder, configuration, internal
from ec2ident_agent.failover.dns.corporate import lines
from ec2ident_agent.failover.errors import UsageError
from tests.lab import packages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

ZONES = ("awslab.mycompany.corp", "compute.internal", "1.0.10.in-addr.arpa")
FORWARDERS = ("10.0.0.5", "10.0.1.5#5353", "fd00::5")


def test_both_forwarders_are_in_every_zone() -> None:
    """One of them may be away; a zone is excepted from validation and forwarded; only a company's own is delegated."""
    found = lines("bind", ZONES, FORWARDERS)

    assert 3 == found.count("forwarders { 10.0.0.5; 10.0.1.5 port 5353; fd00::5; };")
    assert 'validate-except { "awslab.mycompany.corp"; "compute.internal"; "1.0.10.in-addr.arpa"; };' in found
    assert "//    awslab.mycompany.corp. IN NS ns2.awslab.mycompany.corp.\n" in found
    assert "//    ns3.awslab.mycompany.corp. IN AAAA fd00::5\n" in found
    assert "compute.internal. IN NS" not in found


def test_unbound_and_dnsmasq() -> None:
    """A private address in an answer is let through, and a reverse zone is not answered locally."""
    unbound, dnsmasq = lines("unbound", ZONES, FORWARDERS), lines("dnsmasq", ZONES, FORWARDERS)

    assert 3 == unbound.count("    forward-addr: 10.0.1.5@5353\n")
    assert ['    local-zone: "1.0.10.in-addr.arpa." nodefault'] == re.findall(".*nodefault", unbound)
    assert 3 == unbound.count("domain-insecure") == unbound.count("private-domain")
    assert "server=/compute.internal/10.0.1.5#5353\n" in dnsmasq
    assert dnsmasq.endswith("rebind-domain-ok=/awslab.mycompany.corp/compute.internal/1.0.10.in-addr.arpa/\n")


@pytest.mark.parametrize(
    ("kind", "zones", "forwarders", "said"),
    [
        ("powerdns", ZONES, FORWARDERS, "not one of bind, unbound, dnsmasq"),
        ("bind", (), FORWARDERS, "no zone"),
        ("dnsmasq", ZONES, (), "no forwarder"),
        ("dnsmasq", ("a.corp/10.0.0.1\nserver=/b",), FORWARDERS, "is not a domain name"),
        ("unbound", ('a"',), FORWARDERS, "is not a domain name"),
        ("unbound", ZONES, ("ns.example",), "not an IP address"),
    ],
)
def test_what_would_be_wrong_lines_is_refused(
    kind: str, zones: tuple[str, ...], forwarders: tuple[str, ...], said: str
) -> None:
    """For every kind, by the same checks as the forwarder's file."""
    with pytest.raises(UsageError, match=said):
        lines(kind, zones, forwarders)


def test_the_names_of_ec2_in_each_region() -> None:
    """us-east-1 has another domain; without a region both are named."""
    assert ("compute.internal",) == internal("eu-west-1")
    assert ("compute.internal", "ec2.internal") == internal("us-east-1") == internal("")


def test_the_command_line_prints_them(run: Callable[..., Any]) -> None:
    """Zones by option; the kind is BIND if none is named."""
    words = ("--zone", "a.corp", "--forwarder", "10.0.0.5")
    code, said, _ = run("bind", "--corporate", *words)
    assert (0, 1) == (code, "\n".join(said).count("type forward;"))
    assert "server=/a.corp/10.0.0.5" in run("bind", "--corporate", "dnsmasq", *words)[1]
    assert 2 == run("bind", "--corporate", "powerdns", *words)[0]


@pytest.mark.parametrize(
    ("kind", "package", "command"),
    [
        ("bind", "bind9-utils", ("named-checkconf", "FILE")),
        ("unbound", "unbound", ("unbound-checkconf", "FILE")),
        ("dnsmasq", "dnsmasq-base", ("dnsmasq", "--test", "--conf-file=FILE")),
    ],
)
@pytest.mark.root
@pytest.mark.full
def test_each_servers_own_checker_takes_them(tmp_path: Path, kind: str, package: str, command: tuple[str, ...]) -> None:
    """The programs that will read them."""
    from tests.lab.enclosure import Enclosure
    from tests.lab.namespace import Namespace, unique

    place = Namespace(unique("checker"))
    with ExitStack() as stack:
        try:
            tree = packages.tree(package)
        except packages.Unavailable as why:
            pytest.skip(str(why))
        stack.callback(Namespace.remove_all, place)
        Namespace.add_all(place)
        inside = stack.enter_context(Enclosure(place, tree))
        # Unpacked and not installed, unbound has neither its user nor its directories.
        head = 'server:\n    directory: "/run"\n    chroot: ""\n    username: ""\n' if kind == "unbound" else ""
        inside.write("/run/lines", head + lines(kind, ZONES, FORWARDERS))
        done = inside.run(*(word.replace("FILE", "/run/lines") for word in command))
        assert (0, "") == (done.returncode, done.stderr.replace("dnsmasq: syntax check OK.\n", "")), done.stderr


# Three real BINDs

#: The resolver of the VPC, with a private zone and the names that EC2 gives to instances.
VPC = """
options {{ directory "{directory}"; pid-file "{directory}/pid"; listen-on {{ 10.99.1.2; }}; listen-on-v6 {{ none; }};
    recursion no; }};
zone "awslab.mycompany.corp" {{ type primary; file "{directory}/zone"; }};
zone "compute.internal" {{ type primary; file "{directory}/zone"; }};
"""
ZONE = """$TTL 1
@ SOA ns root 1 1 1 1 1
@ NS ns
ns A 10.99.1.2
db A 10.0.0.11
ip-10-0-0-11.eu-west-1 A 10.0.0.11
"""
#: A company's server, which validates, and is authoritative for the parent.
CORPORATE = """
options {{ directory "{directory}"; pid-file "{directory}/pid"; listen-on {{ 10.99.3.1; }}; listen-on-v6 {{ none; }};
    recursion yes; allow-query {{ any; }}; dnssec-validation auto; {options} }};
zone "mycompany.corp" {{ type primary; file "{directory}/parent"; }};
"""
PARENT = "$TTL 1\n@ SOA ns root 1 1 1 1 1\n@ NS ns\nns A 10.99.3.1\nwww A 10.99.3.80\n"


class Servers:
    """The VPC's resolver, the forwarder that `bind` writes, a company's server, and a client behind it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        from tests.lab.namespace import Namespace, unique

        self.directory, self._stack = directory, stack
        self.vpc, self.forwarder, self.company, self.client = (
            Namespace(unique(name)) for name in ("vpc", "forwarder", "company", "client")
        )
        places = (self.vpc, self.forwarder, self.company, self.client)
        stack.callback(Namespace.remove_all, *places)
        Namespace.add_all(*places)
        for number, (one, other) in enumerate(zip((self.vpc, self.forwarder, self.company), places[1:]), 1):
            # The second address of each wire is of the one that is nearer to the VPC.
            other.ip(f"link add w{number} type veth peer name e{number} netns {one.name}")
            other.ip(f"address add 10.99.{number}.{1 if number < 3 else 2}/24 dev w{number}", f"link set w{number} up")
            one.ip(f"address add 10.99.{number}.{2 if number < 3 else 1}/24 dev e{number}", f"link set e{number} up")

    def start(self, place: Any, name: str, text: str, **files: str) -> None:
        directory = self.directory / name
        directory.mkdir()
        for each, content in files.items():
            (directory / each).write_text(content)
        (directory / "named.conf").write_text(text)
        errors = self._stack.enter_context((directory / "stderr").open("w"))
        named = place.start("named", "-f", "-c", str(directory / "named.conf"), stderr=errors)
        self._stack.callback(named.wait, 10)
        self._stack.callback(named.terminate)

    def company_has(self, options: str, tail: str, delegation: str) -> None:
        """Start the company's server with these lines; another one ends first."""
        number = len(list(self.directory.glob("company*")))
        for pid in self.company.pids():
            subprocess.run(["kill", str(pid)], check=True)
        deadline = time.monotonic() + 10
        while self.company.pids() and time.monotonic() < deadline:
            time.sleep(0.05)
        directory = self.directory / f"company{number}"
        text = CORPORATE.format(directory=directory, options=options) + tail
        self.start(self.company, directory.name, text, parent=PARENT + delegation)

    def ask(self, name: str, wanted: str) -> str:
        """What the client hears, short; asked until it is what is wanted, for some seconds."""
        deadline = time.monotonic() + 15
        while True:
            said = self.client.run("dig", "@10.99.3.1", "+time=3", "+tries=1", name).stdout
            status = re.search("status: ([A-Z]+)", said)
            answers = re.findall(r"IN\s+A\s+(\S+)$", said, re.MULTILINE)
            found = answers[0] if answers else status[1] if status else "nothing"
            if found == wanted or time.monotonic() > deadline:
                return found
            time.sleep(0.2)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    if not shutil.which("named") or not shutil.which("dig"):
        pytest.skip("needs named and dig, from the Debian packages bind9 and bind9-dnsutils")
    with ExitStack() as stack:
        made = Servers(tmp_path, stack)
        made.start(made.vpc, "vpc", VPC.format(directory=tmp_path / "vpc"), zone=ZONE)
        directory = tmp_path / "forwarder"
        wanted = Forwarder(
            ("10.99.2.0/24",),
            ZONES,
            ("10.99.1.2",),
            ("10.99.2.2",),
            53,
            str(directory),
            str(directory / "queries.log"),
            str(directory / "pid"),
        )
        made.start(made.forwarder, "forwarder", configuration(wanted))
        yield made


@pytest.mark.root
@pytest.mark.full
def test_a_client_of_the_company_is_answered_from_the_vpc(servers: Servers) -> None:
    """From end to end. Each of the three lines is needed: without it the answer is NXDOMAIN or SERVFAIL."""
    text = lines("bind", ZONES, ("10.99.2.2", "10.99.2.9"))
    comments = [line.removeprefix("//").strip() for line in text.splitlines() if line.startswith("//    ")]
    options = next(line for line in comments if line.startswith("validate-except"))
    delegation = "".join(f"{line}\n" for line in comments if " IN " in line and line.count(".") > 3)
    tail = "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("//"))

    servers.company_has(options, tail, delegation)
    assert "10.0.0.11" == servers.ask("db.awslab.mycompany.corp", "10.0.0.11")
    assert "10.0.0.11" == servers.ask("ip-10-0-0-11.eu-west-1.compute.internal", "10.0.0.11")
    assert "NXDOMAIN" == servers.ask("none.awslab.mycompany.corp", "NXDOMAIN")
    assert "10.99.3.80" == servers.ask("www.mycompany.corp", "10.99.3.80")

    servers.company_has("", tail, delegation)
    assert "10.99.3.80" == servers.ask("www.mycompany.corp", "10.99.3.80")
    assert "SERVFAIL" == servers.ask("ip-10-0-0-11.eu-west-1.compute.internal", "SERVFAIL")
    servers.company_has(options, tail, "")
    assert "10.99.3.80" == servers.ask("www.mycompany.corp", "10.99.3.80")
    assert "NXDOMAIN" == servers.ask("db.awslab.mycompany.corp", "NXDOMAIN")
