"""FRR's configuration and commands for the announcement of overlay addresses. Pure.

Sources: FRR User Guide ("BGP", "BFD", "Filtering", "Route Maps"); Amazon VPC User Guide ("How Amazon VPC Route Server
works"). Tests hold the text against FRR's own parser, and its effect against real daemons.

- The address is announced with a `network` statement. FRR's import check (`bgp network import-check`) announces it only
  while the node holds the address: after a restart of FRR the holder announces it again, and another node does not.
- The prefix lists let nothing out but the overlay addresses, and nothing in.
- The router id is fixed: by default it is the highest address of the node, and the overlay address may become that, so
  that a take-over would reset all sessions.
- `bgp route-map delay-timer 0`: by default FRR waits for 5 s after its start, until all route maps are there, before it
  begins any session, and as long before a changed metric counts.
- `advertisement-interval 0`: for an external peer FRR otherwise waits up to 30 s between two updates.
- Graceful restart is switched off: a daemon that is gone has withdrawn everything.
"""

from __future__ import annotations

from ec2ident.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: The prefix lists of every session.
OUT, IN = "EC2IDENT-OUT", "EC2IDENT-IN"
#: The worst metric (MULTI_EXIT_DISC, RFC 4271): of an announcement that no take-over has made.
WORST = 2**32 - 1
#: 2025-01-01 as Unix time.
START = 1735689600
#: Seconds: keepalive and hold time of BGP without BFD, and the pause before a session is tried again.
KEEPALIVE, HOLD, CONNECT = 3, 9, 2
#: Milliseconds, and how many lost packets: what AWS uses for BFD.
BFD_INTERVAL, BFD_MULTIPLIER = 300, 3


class Speaker(Value):
    """What one node's FRR says to the endpoints of a route server.

    `address` is the node's own one, from which the sessions go out; the route server names it as the peer.
    """

    asn: int
    endpoint_asn: int
    endpoints: tuple[str, ...]
    address: str
    #: Overlay addresses as blocks of one address.
    holder: tuple[str, ...]
    #: Those that both nodes announce: this one with a longer path until it takes over.
    both: tuple[str, ...] = ()
    #: How often the own ASN is added to the longer path.
    prepend: int = 3
    bfd: bool = True


def metric_at(seconds: float) -> int:
    """The metric of a take-over at this time (Unix time): the later one is lower, and so preferred.

    It counts quarters of a second from 2025 on, which last until 2059; then the metric stays 0.
    """
    return min(WORST - 1, max(0, WORST - 1 - int((seconds - START) * 4)))


def route_map(block: str, *, standby: bool = False) -> str:
    """The name of the route map of an address."""
    return f"EC2IDENT-{block.partition('/')[0]}{'-standby' if standby else ''}"


def family(block: str) -> str:
    """The address family as FRR calls it."""
    return "ipv6" if ":" in block else "ipv4"


def announce(asn: int, block: str, metric: int) -> tuple[str, ...]:
    """The commands that announce an address with this metric and the shortest path."""
    name = route_map(block)
    return (*_map(name, metric), *_network(asn, block, f"network {block} route-map {name}"))


def stand_by(asn: int, block: str, prepend: int) -> tuple[str, ...]:
    """The commands that announce an address with the longer path."""
    name = route_map(block, standby=True)
    return (*_map(name, WORST, asn, prepend), *_network(asn, block, f"network {block} route-map {name}"))


def withdraw(asn: int, block: str) -> tuple[str, ...]:
    """The commands that withdraw an address."""
    return _network(asn, block, f"no network {block}")


def _map(name: str, metric: int, asn: int = 0, prepend: int = 0) -> tuple[str, ...]:
    longer = (f"set as-path prepend {' '.join([str(asn)] * prepend)}",) if prepend else ()
    return (f"route-map {name} permit 10", f"set metric {metric}", *longer, "exit")


def _map_text(lines: Sequence[str]) -> list[str]:
    """The same lines with the indentation of a file."""
    return [lines[0], *(f" {line}" for line in lines[1:-1]), lines[-1], "!"]


def _network(asn: int, block: str, line: str) -> tuple[str, ...]:
    return (f"router bgp {asn}", f"address-family {family(block)} unicast", line)


def configuration(wanted: Speaker) -> str:
    """The whole frr.conf of a node."""
    blocks = (*wanted.holder, *wanted.both)
    families = [name for name in ("ipv4", "ipv6") if any(family(each) == name for each in blocks)]
    lines = [
        "! Written by ec2ident-failover bgp, for /etc/frr/frr.conf; in /etc/frr/daemons: bgpd=yes"
        + (", bfdd=yes." if wanted.bfd else "."),
        "! Overlay addresses to the endpoints of a VPC Route Server; nothing else goes out, and nothing comes in.",
        "frr defaults traditional",
        "log syslog informational",
        "service integrated-vtysh-config",
        "bgp route-map delay-timer 0",
        "!",
    ]
    for name in families:
        lines += _prefix_lists("ip" if name == "ipv4" else name, [each for each in blocks if family(each) == name])
    for block in wanted.holder:
        lines += _map_text(_map(route_map(block), WORST))
    for block in wanted.both:
        lines += _map_text(_map(route_map(block, standby=True), WORST, wanted.asn, wanted.prepend))
    if wanted.bfd:
        lines += ["bfd", " profile ec2ident", f"  detect-multiplier {BFD_MULTIPLIER}"]
        lines += [f"  {way}-interval {BFD_INTERVAL}" for way in ("receive", "transmit")]
        lines += [" exit", "exit", "!"]
    lines += [f"router bgp {wanted.asn}", f" bgp router-id {wanted.address}", " no bgp default ipv4-unicast"]
    lines += [" bgp network import-check", " bgp graceful-restart-disable"]
    for each in wanted.endpoints:
        lines += [f" neighbor {each} {rest}" for rest in _session(wanted)]
    for name in families:
        lines += _family(wanted, name)
    return "\n".join([*lines, "exit", ""])


def _prefix_lists(word: str, blocks: Sequence[str]) -> list[str]:
    permitted = [f"{word} prefix-list {OUT} seq {5 * n} permit {each}" for n, each in enumerate(blocks, 1)]
    ends = [f"{word} prefix-list {name} seq 1000000 deny any" for name in (OUT, IN)]
    return [*permitted, *ends, "!"]


def _session(wanted: Speaker) -> list[str]:
    bfd = ["bfd profile ec2ident"] if wanted.bfd else []
    remote, source = f"remote-as {wanted.endpoint_asn}", f"update-source {wanted.address}"
    timers = [f"timers {KEEPALIVE} {HOLD}", f"timers connect {CONNECT}"]
    return [remote, source, *bfd, *timers, "advertisement-interval 0"]


def _family(wanted: Speaker, name: str) -> list[str]:
    found = [" !", f" address-family {name} unicast"]
    for standby, blocks in ((False, wanted.holder), (True, wanted.both)):
        same = [each for each in blocks if family(each) == name]
        found += [f"  network {each} route-map {route_map(each, standby=standby)}" for each in same]
    for each in wanted.endpoints:
        found += [
            f"  neighbor {each} {rest}" for rest in ("activate", f"prefix-list {IN} in", f"prefix-list {OUT} out")
        ]
    return [*found, " exit-address-family"]
