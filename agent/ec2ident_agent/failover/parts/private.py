"""Secondary private addresses and delegated prefixes, which move between the ENIs of a subnet.

An IPv4 address is taken from its holder by the assignment itself. For an IPv6 address or a prefix EC2 has no such
switch ("AssignIpv6Addresses", "AssignPrivateIpAddresses", EC2 API Reference), so the holder loses it first.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.aws.forms import is_plain_ipv4

from .assigned import Holder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import NetworkInterface
    from ec2ident_agent.failover.settings import PrivateSettings


class PrivateAssignment(Value):
    """See `assigned.Assignment`."""

    settings: PrivateSettings

    def holders(self, api: Api, eni: NetworkInterface) -> Mapping[str, Holder]:
        """Who has each address or prefix: first the ENI itself is asked, and then for those that it does not have.

        One filter finds the holder of IPv4 addresses; the others are sought in the subnet.
        """
        found = self._seen(api, {"network-interface-id": [eni.id]}, self.settings.addresses)
        left = [key for key in self.settings.addresses if key not in found]
        plain = all(map(is_plain_ipv4, left))
        elsewhere = {"addresses.private-ip-address": left} if plain else {"subnet-id": [eni.subnet]}
        return {**self._seen(api, {"vpc-id": [eni.vpc], **elsewhere}, left), **found} if left else found

    @staticmethod
    def _seen(api: Api, filters: Mapping[str, Sequence[str]], keys: Sequence[str]) -> dict[str, Holder]:
        seen: tuple[NetworkInterface, ...] = api.pages(lambda token: actions.describe_interfaces(filters, token))
        return {
            key: Holder(one.id, one.id, one.holder, one.owner, one.subnet, key in one.addresses[:1])
            for one in seen
            for key in (*one.addresses, *one.ipv6, *one.prefixes)
            if key in keys
        }

    def warnings(self, eni: NetworkInterface) -> tuple[str, ...]:
        """None: an ENI loses nothing by another address."""
        return ()

    def owner(self, eni: NetworkInterface) -> str:
        """The ENI."""
        return eni.id

    def take(self, key: str, eni: NetworkInterface, *, reassign: bool) -> ApiCall:
        """Assign it."""
        return actions.assign(eni.id, eni.owner, key, reassign=reassign)

    def free(self, key: str, holder: Holder) -> ApiCall | None:
        """Unassign it, where assigning does not do that."""
        return None if is_plain_ipv4(key) else actions.unassign(holder.eni, holder.account, key)

    def give_back(self, key: str, holder: Holder) -> ApiCall:
        """Assign it to the ENI that had it."""
        return actions.assign(holder.eni, holder.account, key, reassign=True)
