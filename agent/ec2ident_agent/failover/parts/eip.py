"""An Elastic IP, which moves between ENIs of the region by one call."""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.errors import UsageError

from .assigned import Holder
from .route import carrier_of, target_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import ElasticAddress, NetworkInterface
    from ec2ident_agent.failover.session import Session
    from ec2ident_agent.failover.settings import EipSettings

    from .part import PartSight


class EipAssignment(Value):
    """See `assigned.Assignment`. The key is the allocation id."""

    settings: EipSettings
    device: str = ""

    def carrier(self, session: Session, earlier: Sequence[PartSight]) -> tuple[NetworkInterface, tuple[str, ...]]:
        """The configured ENI, or the device's, or the node's first one; with a warning if it has another Elastic IP."""
        eni, warnings = carrier_of(session.api(), **target_of(session, self.settings.eni, self.device, (), earlier))
        there = [each for address, each in eni.elastic if address == self._address(eni)]
        lost = [
            f"{eni.id}: {self._address(eni)} has {each}, and loses it"
            for each in there
            if each != self.settings.allocation
        ]
        return eni, (*warnings, *lost)

    def holders(self, api: Api, eni: NetworkInterface) -> Mapping[str, Holder]:
        """The ENI that it is associated with. Raises UsageError for an allocation that does not exist."""
        found: tuple[ElasticAddress, ...] = api.call(actions.describe_addresses(self.settings.allocation))
        mine = [each for each in found if each.id == self.settings.allocation]
        if not mine:
            said = f"no {self.settings.allocation} in {api.access.region} (is it in another region or account?)"
            raise UsageError(f"allocation: {said}")
        return {
            one.id: Holder(f"{one.eni} {one.private}", one.eni, one.instance, one.account) for one in mine if one.eni
        }

    def owner(self, eni: NetworkInterface) -> str:
        """The ENI, with the private address that the Elastic IP is translated to. Raises UsageError without one."""
        address = self._address(eni)
        if not address:
            raise UsageError(f"eni: {eni.id} has no private IPv4 address, which an Elastic IP goes to")
        return f"{eni.id} {address}"

    def _address(self, eni: NetworkInterface) -> str:
        return self.settings.address or next(iter(eni.addresses), "")

    def take(self, key: str, eni: NetworkInterface, *, reassign: bool) -> ApiCall:
        """Associate it."""
        return actions.associate(key, eni.id, eni.owner, self.settings.address, reassign=reassign)

    def free(self, key: str, holder: Holder) -> ApiCall | None:
        """Associating takes it from the holder."""
        return None

    def give_back(self, key: str, holder: Holder) -> ApiCall:
        """Associate it with the private address that had it."""
        return actions.associate(key, holder.eni, holder.account, holder.owner.partition(" ")[2], reassign=True)
