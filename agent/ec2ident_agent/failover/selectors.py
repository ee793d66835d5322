"""How to find route tables and ENIs: by id, by tag, by VPC, by address. Pure."""

from __future__ import annotations

from ec2ident.value import Value, as_dict

from .errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Union

    from .aws.model import NetworkInterface


class TableSelector(Value):
    """Which route tables: by id, by a tag `KEY=VALUE`, or all of a VPC."""

    tables: tuple[str, ...] = ()
    tag: str = ""
    vpc: str = ""

    CHOICE = "give either ids, or a tag KEY=VALUE, or a VPC"

    def filters(self) -> Mapping[str, Sequence[str]]:
        """The filters of DescribeRouteTables."""
        if self.tag:
            return _tagged(self.tag)
        return {"route-table-id": self.tables} if self.tables else {"vpc-id": [self.vpc]}

    def __str__(self) -> str:
        return ", ".join(self.tables) or (f"tag {self.tag}" if self.tag else self.vpc)


class EniSelector(Value):
    """Which ENI: by id, by a tag `KEY=VALUE`, or by exactly one of its addresses."""

    id: str = ""
    tag: str = ""
    address: str = ""

    CHOICE = "give either an id, or a tag KEY=VALUE, or an address"

    def filters(self) -> Mapping[str, Sequence[str]]:
        """The filters of DescribeNetworkInterfaces."""
        if self.id:
            return {"network-interface-id": [self.id]}
        if self.tag:
            return _tagged(self.tag)
        name = "ipv6-addresses.ipv6-address" if ":" in self.address else "addresses.private-ip-address"
        return {name: [self.address]}

    def fits(self, eni: NetworkInterface) -> bool:
        """Whether an ENI of the answer is meant: the filters of the service accept wildcards."""
        if self.id:
            return eni.id == self.id
        return bool(self.tag) or self.address in (*eni.addresses, *eni.ipv6)

    def __str__(self) -> str:
        return self.id or (f"tag {self.tag}" if self.tag else f"address {self.address}")


if TYPE_CHECKING:
    Selector = Union[TableSelector, EniSelector]


def _tagged(tag: str) -> Mapping[str, Sequence[str]]:
    key, _, value = tag.partition("=")
    return {f"tag:{key}": [value]}


def check_one(selector: Selector, where: str = "selector") -> None:
    """Raises UsageError unless exactly one way is given; `where` is what the user wrote."""
    if sum(map(bool, as_dict(selector).values())) != 1:
        raise UsageError(f"{where}: {selector.CHOICE}")
