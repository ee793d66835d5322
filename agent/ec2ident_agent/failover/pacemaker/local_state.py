"""What this node itself has of a resource: overlay addresses in the kernel, or a marker of the start.

Nothing here needs the API, the metadata service or a valid configuration.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from ec2ident_agent.failover.agent_bridge import AgentBridge

    from .request import OcfRequest

    class LocalState(Protocol):
        """This node's part of a resource."""

        #: The reason that the engine shows for PARTLY.
        lacking: str

        def look(self) -> str:
            """HELD, PARTLY or ABSENT. Raises UnknownError."""

        def keep(self, mac: str) -> None:
            """Remember a start; `mac` is the MAC address of the ENI that moved, or ""."""

        def drop(self) -> None:
            """Remove it from this node. Raises AgentError."""


#: All of the resource is on this node, some of it, or nothing.
HELD, PARTLY, ABSENT = "held", "partly", "absent"


class Addresses:
    """The overlay addresses. The kernel itself is asked, so nothing needs to be remembered."""

    lacking = "only some of the addresses are on this node"

    def __init__(self, request: OcfRequest, bridge: Callable[[], AgentBridge], say: Callable[[str], object]) -> None:
        self._bridge, self._state_dir = bridge, request.state_dir
        #: Private addresses: see `held_of`.
        self._private = request.kind == "private"
        self._texts = request.values.get("addresses" if self._private else "address", "").replace(",", " ").split()
        #: Seconds to wait for the agent's lock. Another process holds it for a moment, or hangs.
        self._wait = request.deadline / 4

    @property
    def addresses(self) -> tuple[str, ...]:
        """The parameters that are addresses. Others can never have been held, so a stop ignores them."""
        from ec2ident_agent.inet import single

        found = []
        for text in self._texts:
            try:
                found.append(single(text))
            except ValueError:
                continue
        return tuple(found)

    def look(self) -> str:
        """HELD, PARTLY or ABSENT, whatever the interface, and the length of an overlay address. Raises UnknownError.

        An address on a device that is down is not all of it.
        """
        from ec2ident_agent.failover.agent_bridge import down_of, held_of

        addresses, found = self.addresses, held_of(self.addresses, private=self._private)
        here = {each.address.partition("/")[0] for each in found}
        down = down_of({each.device for each in found}) if found else []
        useful = {each.address.partition("/")[0] for each in found if each.device not in down}
        self.lacking = (
            f"the device of the addresses is down: {', '.join(down)}" if useful < here else type(self).lacking
        )
        wanted = [each.partition("/")[0] for each in addresses]
        return HELD if wanted and useful.issuperset(wanted) else PARTLY if here else ABSENT

    def keep(self, mac: str) -> None:
        """Nothing to do: the takeover has added the addresses."""

    def drop(self) -> None:
        """Remove exactly what was added, and then the address even if it is not in the journal: two nodes must not
        answer. Raises AgentError."""
        if self.look() == ABSENT and not os.path.exists(os.path.join(self._state_dir, "journal")):
            return
        self._bridge().let_go(*self.addresses, wait=self._wait, private=self._private)


class AnnouncedAddresses(Addresses):
    """Overlay addresses that FRR announces. Where they are not held, FRR announces them no more: see `bgp/frr.py`."""

    def __init__(self, request: OcfRequest, bridge: Callable[[], AgentBridge], say: Callable[[str], object]) -> None:
        super().__init__(request, bridge, say)
        self._asn, self._say = request.values.get("asn", ""), say

    def drop(self) -> None:
        """Withdraw first, as far as FRR answers, and then remove the addresses."""
        from ec2ident_agent.failover.parts.bgp import WITHDRAW, BgpPart
        from ec2ident_agent.failover.settings import BgpSettings

        # Without a right number they can never have been announced, and a stop must not depend on it.
        if self._asn.isascii() and self._asn.isdigit() and 0 < int(self._asn[:11]) < 2**32:
            part = BgpPart(BgpSettings(int(self._asn), 0), self.addresses)
            for finding in part.let_go(seconds=min(WITHDRAW, self._wait)):
                self._say(str(finding))
        super().drop()


class StartedMarker:
    """A file that says that the resource was started here since boot, for resources that the kernel does not show.

    Its directory is empty after a boot. It holds the MAC address of an ENI that moved, so that a plain monitor notices
    when the ENI is detached.
    """

    lacking = "the interface is not on this node any more"

    def __init__(self, request: OcfRequest, bridge: Callable[[], AgentBridge], say: Callable[[str], object]) -> None:
        self._bridge = bridge
        self._directory = os.path.join(request.state_dir, "ocf")
        safe = "".join(c if c.isalnum() or c in "-_" else f"%{ord(c):02x}" for c in request.instance)
        self._path = os.path.join(self._directory, f"{request.kind}-{safe}")

    def look(self) -> str:
        """HELD, PARTLY (started here, but the ENI is not on this node) or ABSENT. Raises UnknownError."""
        try:
            with open(self._path, "rb") as file:
                mac = file.read(64).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ABSENT
        return HELD if not mac or self._bridge().shows(mac) else PARTLY

    def keep(self, mac: str) -> None:
        """Write the marker."""
        os.makedirs(self._directory, 0o755, exist_ok=True)
        with open(self._path, "w", encoding="ascii") as file:
            file.write(mac)

    def drop(self) -> None:
        """Remove the marker."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            return


def private_state(request: OcfRequest, bridge: Callable[[], AgentBridge], say: Callable[[str], object]) -> LocalState:
    """The addresses, if a device of this node holds any of them; else another program does, or they are prefixes."""
    addresses = Addresses(request, bridge, say)
    return addresses if request.values.get("device") and addresses.addresses else StartedMarker(request, bridge, say)


#: What each agent looks at on this node.
LOCAL_STATES: Mapping[str, Callable[..., LocalState]] = {
    "overlay": Addresses,
    "bgp": AnnouncedAddresses,
    "eni": StartedMarker,
    "private": private_state,
    "eip": StartedMarker,
    "dns": StartedMarker,
}
