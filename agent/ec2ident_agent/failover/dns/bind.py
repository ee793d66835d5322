"""A BIND forwarder for resolvers outside the VPC: private zones are answered by the VPC's own resolver. Pure.

The VPC's resolver (the VPC's base address plus two, or 169.254.169.253) answers only inside the VPC, so on-premises
resolvers forward to this BIND, which forwards to it. BIND validates DNSSEC by default. It finds no chain of trust for a
private zone, and would answer with SERVFAIL; `validate-except` names those zones and keeps validation elsewhere.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.aws.response import name as normal
from ec2ident_agent.failover.errors import FailoverError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Forwarder(Value):
    """The settings of a forwarder. `clients` must contain the on-premises resolvers: they send the queries."""

    clients: tuple[str, ...]
    zones: tuple[str, ...]
    #: The VPC's resolver; ADDRESS or ADDRESS#PORT.
    forwarders: tuple[str, ...]
    #: Addresses of this machine to listen on; none for all. The ACL decides which clients get an answer.
    listen: tuple[str, ...] = ()
    port: int = 53
    #: BIND does not start unless it may write here, to the log and to the PID file.
    directory: str = "/var/cache/bind"
    log: str = "/var/cache/bind/queries.log"
    pid: str = "/run/named/named.pid"


def check(wanted: Forwarder) -> Forwarder:
    """The same in normal spelling: names without final dot, networks without host bits. Raises UsageError."""
    from ec2ident_agent.failover.aws.response import address, network

    if not wanted.clients:
        raise UsageError("bind: no client is given")
    zones, servers = names_and_servers(wanted.zones, wanted.forwarders)
    try:
        clients, listen = tuple(map(network, wanted.clients)), tuple(map(address, wanted.listen))
    except FailoverError as error:
        raise UsageError(f"bind: {error}") from None
    if not 0 < wanted.port < 65536:
        raise UsageError(f"bind: port {wanted.port} is not from 1 to 65535")
    for path in (wanted.directory, wanted.log, wanted.pid):
        if not path.startswith("/") or not path.isprintable() or '"' in path or "\\" in path:
            raise UsageError(f"bind: {path!r} is not an absolute path")
    return Forwarder(clients, zones, servers, listen, wanted.port, wanted.directory, wanted.log, wanted.pid)


def names_and_servers(zones: Sequence[str], forwarders: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Zones and forwarders in normal spelling. Raises UsageError."""
    from ec2ident_agent.failover.aws.forms import server

    from .resolver import question

    for what, values in (("zone", zones), ("forwarder", forwarders)):
        if not values:
            raise UsageError(f"bind: no {what} is given")
    for zone in zones:
        question(zone, "A", 0)
        # A slash as in 0/25.2.0.192.in-addr.arpa (RFC 2317).
        if not all(c.isalnum() or c in "-_./" for c in zone):
            raise UsageError(f"zone: {zone!r} is not a domain name")
    return tuple(dict.fromkeys(map(normal, zones))), tuple(map(server, forwarders))


def internal(region: str) -> tuple[str, ...]:
    """The zones of the names that EC2 gives to instances ("Amazon EC2 User Guide", "Instance hostnames").

    In us-east-1 it is another one; without a region both are named.
    """
    return ("compute.internal", *(("ec2.internal",) if region in ("us-east-1", "") else ()))


def configuration(wanted: Forwarder) -> str:
    """A whole named.conf. Raises UsageError."""
    wanted = check(wanted)
    everywhere = "none" if wanted.listen else "any"
    four = [each for each in wanted.listen if ":" not in each] or [everywhere]
    six = [each for each in wanted.listen if ":" in each] or [everywhere]
    forwarders = braces(each.replace("#", " port ") for each in wanted.forwarders)
    names = braces(f'"{zone}"' for zone in wanted.zones)
    zones = "".join(forward_zone(zone, forwarders) for zone in wanted.zones)
    return f"""\
// Written by ec2ident-failover bind. Forwards private zones to the resolver of the VPC.

acl goodclients {braces([*wanted.clients, "localhost"])};

options {{
    directory "{wanted.directory}";
    pid-file "{wanted.pid}";
    listen-on port {wanted.port} {braces(four)};
    listen-on-v6 port {wanted.port} {braces(six)};
    version "none";
    recursion yes;
    allow-query {{ goodclients; }};
    allow-query-cache {{ goodclients; }};
    allow-recursion {{ goodclients; }};
    forwarders {forwarders};
    forward only;
    dnssec-validation auto;
    // A private zone has no chain of trust; without these it is answered with SERVFAIL.
    validate-except {names};
}};

logging {{
    channel queries {{
        file "{wanted.log}" versions 3 size 10m;
        severity info;
        print-time yes;
        print-category yes;
    }};
    category queries {{ queries; }};
    category client {{ queries; }};
}};
{zones}"""


def forward_zone(zone: str, forwarders: str) -> str:
    """The statement that forwards a zone to a list in braces."""
    return f'\nzone "{zone}" IN {{\n    type forward;\n    forward only;\n    forwarders {forwarders};\n}};\n'


def braces(items: Iterable[str]) -> str:
    """A list as named.conf has it."""
    return f"{{ {' '.join(f'{each};' for each in items)} }}"
