"""An Elastic IP, which moves between ENIs of the region by one call."""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.errors import UsageError

from .assigned import Holder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import ElasticAddress, NetworkInterface
    from ec2ident_agent.failover.settings import EipSettings


class EipAssignment(Value):
    """See `assigned.Assignment`. The key is the allocation id."""

    settings: EipSettings

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

    def warnings(self, eni: NetworkInterface) -> tuple[str, ...]:
        """A warning for each other Elastic IP that the address has."""
        address, mine = self._address(eni), self.settings.allocation
        lost = [each for of, each in eni.elastic if of == address and each != mine]
        return tuple(f"{eni.id}: {address} has {each}, and loses it" for each in lost)

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
