"""Which route tables: by id, by tag, or all of a VPC; and one look at them."""

from __future__ import annotations

from ec2ident.value import Value

from .aws import actions
from .aws.response import is_a
from .errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .aws.client import Api
    from .aws.model import Table


class Select(Value):
    """Which route tables: by id, by a tag `KEY=VALUE`, or all of a VPC."""

    tables: tuple[str, ...] = ()
    tag: str = ""
    vpc: str = ""

    def filters(self) -> Mapping[str, Sequence[str]]:
        """As DescribeRouteTables takes them."""
        key, _, value = self.tag.partition("=")
        if self.tag:
            return {f"tag:{key}": [value]}
        return {"route-table-id": self.tables} if self.tables else {"vpc-id": [self.vpc]}

    def __str__(self) -> str:
        return ", ".join(self.tables) or (f"tag {self.tag}" if self.tag else self.vpc)


def check_select(select: Select) -> Select:
    """Raises UsageError unless exactly one way to find tables is given, with ids that can be ids."""
    given = [bool(select.tables), bool(select.tag), bool(select.vpc)]
    if sum(given) != 1:
        raise UsageError("route tables: give either ids, or a tag KEY=VALUE, or a VPC")
    for table in select.tables:
        if not is_a("table", table):
            raise UsageError(f"route tables: {table!r} is no id of a route table (rtb-…)")
    if select.tag:
        check_tag("route tables", select.tag)
    if select.vpc and not is_a("vpc", select.vpc):
        raise UsageError(f"route tables: {select.vpc!r} is no id of a VPC (vpc-…)")
    return select


def check_tag(what: str, tag: str) -> None:
    """Raises UsageError for what would find more than one value: filters know wildcards, and IAM does not."""
    key, mark, value = tag.partition("=")
    if not (key and mark and value) or {*"*?\\"} & {*tag}:
        raise UsageError(f"{what}: tag {tag!r} is not KEY=VALUE (without wildcards)")


def describe(api: Api, select: Select) -> tuple[Table, ...]:
    """One look at the tables, sorted by id. Raises UsageError where a tag or a VPC has none.

    Of a VPC, the tables of its gateways are left out: they say where traffic from outside goes, and take no route to
    an address outside the VPC ("Gateway route tables", VPC User Guide).
    """
    found: tuple[Table, ...] = api.pages(lambda token: actions.describe_tables(select.filters(), token))
    if select.tables:
        found = tuple(table for table in found if table.id in select.tables)
    elif select.vpc:
        found = tuple(table for table in found if not table.gateway)
    if not found and not select.tables:
        raise UsageError(f"route tables: none found by {select} in {api.access.region}")
    return tuple(sorted(found, key=lambda table: table.id))


def holders(api: Api, destination: str) -> tuple[Table, ...]:
    """Every table of the region that holds a route to this destination."""
    name = "route.destination-ipv6-cidr-block" if ":" in destination else "route.destination-cidr-block"
    return api.pages(lambda token: actions.describe_tables({name: [destination]}, token))
