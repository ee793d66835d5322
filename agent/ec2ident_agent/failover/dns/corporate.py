"""The resolvers outside the VPC: what they need so that the private zones are asked of the forwarders inside. Pure.

Three things go wrong there. A server that is authoritative for the parent zone says NXDOMAIN, whatever it is told to
forward, unless the parent delegates the name (NS). A server that validates finds no chain of trust and says SERVFAIL,
unless it is told to except the zone. And a server that protects against rebinding removes private addresses.
"BIND 9 Administrator Reference Manual", "forward", "validate-except"; unbound.conf(5); dnsmasq(8).
"""

from __future__ import annotations

from ec2ident_agent.failover.errors import UsageError

from .bind import braces, names_and_servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = "Written by ec2ident-failover bind --corporate. Asks the forwarders in the VPC for its private zones."


def lines(kind: str, zones: Sequence[str], forwarders: Sequence[str]) -> str:
    """The lines for a server of a kind (a key of KINDS). A forwarder is ADDRESS or ADDRESS#PORT. Raises UsageError."""
    if kind not in KINDS:
        raise UsageError(f"bind: --corporate {kind!r} is not one of {', '.join(KINDS)}")
    return KINDS[kind](*names_and_servers(zones, forwarders))


def _bind(zones: Sequence[str], forwarders: Sequence[str]) -> str:
    servers = braces(each.replace("#", " port ") for each in forwarders)
    excepted = braces(f'"{zone}"' for zone in zones)
    forwarded = "".join(
        f'\nzone "{zone}" IN {{\n    type forward;\n    forward only;\n    forwarders {servers};\n}};\n'
        for zone in zones
    )
    delegations = "".join(f"//\n{_delegation(zone, forwarders)}" for zone in zones if _delegable(zone))
    return f"""\
// {HEAD}
//
// 1. In `options`, with the zones that are excepted already. The zones are not signed.
//    validate-except {excepted};
//
// 2. Only if this server is authoritative for a parent zone: in the parent's zone file. Without a delegation it answers
//    NXDOMAIN. The server asks the forwarders of 3 and not these addresses.
{delegations}//
// 3. Include this file in named.conf.
{forwarded}"""


def _delegable(zone: str) -> bool:
    """Whether a company may have the parent; no company has `internal`."""
    return not zone.endswith(".internal")


def _delegation(zone: str, forwarders: Sequence[str]) -> str:
    found = ""
    for number, forwarder in enumerate(forwarders, 1):
        address = forwarder.partition("#")[0]
        found += f"//    {zone}. IN NS ns{number}.{zone}.\n"
        found += f"//    ns{number}.{zone}. IN {'AAAA' if ':' in address else 'A'} {address}\n"
    return found


def _unbound(zones: Sequence[str], forwarders: Sequence[str]) -> str:
    # Unbound answers the reverse zones of private addresses by itself, unless it is told not to.
    server = "".join(
        f'    domain-insecure: "{zone}"\n    private-domain: "{zone}"\n'
        + (f'    local-zone: "{zone}." nodefault\n' if zone.endswith(".arpa") else "")
        for zone in zones
    )
    addresses = "".join(f"    forward-addr: {each.replace('#', '@')}\n" for each in forwarders)
    forwarded = "".join(f'\nforward-zone:\n    name: "{zone}"\n{addresses}' for zone in zones)
    return f"# {HEAD}\n\nserver:\n{server}{forwarded}"


def _dnsmasq(zones: Sequence[str], forwarders: Sequence[str]) -> str:
    found = "".join(f"server=/{zone}/{each}\n" for zone in zones for each in forwarders)
    return f"# {HEAD}\n{found}rebind-domain-ok=/{'/'.join(zones)}/\n"


KINDS = {"bind": _bind, "unbound": _unbound, "dnsmasq": _dnsmasq}
