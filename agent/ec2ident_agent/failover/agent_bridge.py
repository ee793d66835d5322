"""This node's side of a move, done by the agent: hold an overlay address, wait for an interface, apply its profile."""

from __future__ import annotations

from ec2ident_agent.errors import AgentError, DeviceNeededError

from .errors import OutOfTimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ec2ident_agent.engine import Report
    from ec2ident_agent.items import Address, Link, Step
    from ec2ident_agent.node import Node

    from .aws.deadline import Deadline

    Log = Callable[[str], object]

#: Seconds between two looks for an interface that was just attached. Its link appears some 10 ms after the attach.
LOOK_EVERY = 0.1


class AgentBridge:
    """The agent on this node. `state_dir` and `config` are the agent's; empty for its defaults."""

    def __init__(self, log: Log, state_dir: str = "", config: str = "") -> None:
        self.log, self.state_dir, self.config = log, state_dir, config

    def _node(self) -> Node:
        from ec2ident_agent.node import Node
        from ec2ident_agent.state.journal import STATE_DIRECTORY

        def note(line: str) -> None:
            self.log(f"ec2ident-agent: {line}")

        state_dir = self.state_dir or STATE_DIRECTORY
        return Node(self.config or None, state_dir=state_dir, log=self.log, note=note)

    def plan(self, address: str, device: str = "", label: str = "") -> tuple[Step, ...]:
        """The steps to hold an overlay address; none if it is held. Raises AgentError."""
        with self._node() as node:
            return _hold(node, address, device, label, dry_run=True).steps

    def hold(self, address: str, device: str = "", label: str = "") -> tuple[Step, ...]:
        """Hold it until `release` or a reboot. Returns the steps that were needed.

        Raises AgentError; RefusedError if a foreign object is in its place, or if it would harm another interface.
        """
        from ec2ident_agent.errors import RefusedError

        with self._node() as node:
            report = _hold(node, address, device, label)
        for warning in report.warnings:
            self.log(f"ec2ident-agent: warning: {warning}")
        if report.refusals:
            raise RefusedError("; ".join(map(str, report.refusals)))
        return report.steps

    def release(self, *addresses: str, wait: float | None = None) -> tuple[Step, ...]:
        """Release them: remove exactly what was added for them. Raises AgentError with everything that is left.

        With `wait`, go on without the lock after so many seconds: see `Node.release_overlays`.
        """
        with self._node() as node:
            return node.release_overlays(*addresses, patience=wait, insist=wait is not None)

    def configured_device(self, address: str) -> str:
        """The device that the agent's configuration sends the traffic of an overlay address through, or "".

        Raises ConfigError for a wrong configuration.
        """
        with self._node() as node:
            return node.overlay_device(address)

    def removal(self, *addresses: str, private: bool = False) -> tuple[Step, ...]:
        """The steps of `let_go`. Raises AgentError."""
        with self._node() as node:
            steps = node.release_overlays(*addresses, dry_run=True)
        known = {step.item for step in steps}
        return (*steps, *(step for step in _left(addresses, private=private) if step.item not in known))

    def let_go(self, *addresses: str, wait: float, private: bool = False) -> None:
        """Remove what was added for them, and then the addresses even if they are not in the journal: two nodes must
        not answer for them. For `private` see `held_of`. Raises AgentError."""
        from ec2ident_agent.kernel.change import NetlinkKernel

        try:
            self.release(*addresses, wait=wait)
        except AgentError as error:
            # A damaged journal must not keep the address here; the other items that were added for it do no harm.
            self.log(f"{' '.join(addresses)}: {error}")
        left = _left(addresses, private=private)
        for failure in NetlinkKernel().do(left) if left else ():
            raise AgentError(str(failure))

    def device(self, mac: str, deadline: Deadline) -> str:
        """The name of the interface with this MAC address, as soon as the kernel shows it. Raises OutOfTimeError."""
        while True:
            name = device_of(mac)
            if name:
                return name
            try:
                deadline.pause(LOOK_EVERY, f"interface {mac}: attached, but the kernel does not show it")
            except OutOfTimeError as error:
                raise OutOfTimeError(f"{error}; ec2ident-agent apply adds its profile when it is there") from None

    def shows(self, mac: str) -> bool:
        """Whether an interface with this MAC address is on this node. Raises UnknownError."""
        return bool(device_of(mac))

    def apply(self, device: str) -> str:
        """Apply the profile of an interface, as the agent's configuration says.

        Returns what could not be done, in one line, or "". Raises ConfigError if the interface is not configured, and
        AgentError.
        """
        from ec2ident_agent.state.owned import interface

        with self._node() as node:
            report = node.apply([interface(device)])
        waiting = (f"{device}: waits until its link is up" for _ in report.waiting[:1])
        return "; ".join(map(str, (*report.refusals, *report.unknown, *waiting)))


def _left(addresses: Sequence[str], *, private: bool = False) -> list[Step]:
    """The removal of each of these addresses that this node has."""
    from ec2ident_agent.items import Step

    return [Step("del", each) for each in held_of(addresses, private=private)]


def held_of(addresses: Sequence[str], *, private: bool = False) -> list[Address]:
    """Which of these addresses this node has, whatever their prefix length and interface. Raises UnknownError.

    Of `private` addresses only those with the length of one address: with the subnet's length they came by DHCP.
    One dump of the links and one of the addresses, but none of the routes.
    """
    from ec2ident_agent.items import Address
    from ec2ident_agent.kernel.dump import Channel, links
    from ec2ident_agent.kernel.dump import addresses as dump

    channel = Channel()
    try:
        names = {each.index: each.name for each in links(channel)}
        seen = [each.item for each in dump(channel, names) if isinstance(each.item, Address)]
    finally:
        channel.close()
    wanted = {*addresses} if private else {each.partition("/")[0] for each in addresses}
    return [each for each in seen if (each.address if private else each.address.partition("/")[0]) in wanted]


def down_of(devices: Collection[str]) -> list[str]:
    """Which of these devices are down: an IPv4 address stays on such a device, and nothing reaches it."""
    return [link.name for link in _links() if link.name in devices and not link.up]


def device_of(mac: str) -> str:
    """The name of the interface with this MAC address, "" if there is none. Raises UnknownError.

    One dump of the links, without the rest of the agent: a monitor asks this every ten seconds.
    """
    return next((link.name for link in _links() if link.mac == mac), "")


def source_to(destination: str) -> str:
    """The IPv4 address that the kernel gives to a packet of this node to a destination. Sends nothing.

    Raises UnknownError where no route leads there.
    """
    import socket

    from ec2ident_agent.errors import UnknownError

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.connect((destination, 9))
            return str(unsent.getsockname()[0])
        except OSError as error:
            raise UnknownError(f"{destination}: {error.strerror or error}") from None


def link_of(device: str) -> Link | None:
    """The interface with this name. Raises UnknownError."""
    from ec2ident_agent.items import Observed

    return Observed(_links()).link(device)


def _links() -> tuple[Link, ...]:
    from ec2ident_agent.kernel.dump import Channel, links

    channel = Channel()
    try:
        return links(channel)
    finally:
        channel.close()


def _hold(node: Node, address: str, device: str, label: str, *, dry_run: bool = False) -> Report:
    """`Node.hold_overlay`; an error about the device names the place where failover reads it."""
    try:
        return node.hold_overlay(address, device=device, label=label, dry_run=dry_run)
    except DeviceNeededError:
        where = f"device of its service or resource, or [[overlay]] in {node.config_path}"
        raise DeviceNeededError(address, where) from None
