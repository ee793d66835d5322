"""One look at the route tables that a selector means."""

from __future__ import annotations

from ec2ident.value import replace
from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import RouteTable
    from ec2ident_agent.failover.selectors import TableSelector


def describe(api: Api, select: TableSelector) -> tuple[RouteTable, ...]:
    """Read the tables, sorted by id. Raises UsageError if a tag or a VPC has none.

    Gateway route tables of a VPC are left out: they route traffic that enters the VPC, and accept no route to an
    address outside of it ("Gateway route tables", VPC User Guide).
    """
    found: tuple[RouteTable, ...] = api.pages(lambda token: actions.describe_tables(select.filters(), token))
    if select.tables:
        found = tuple(table for table in found if table.id in select.tables)
    elif select.vpc:
        found = tuple(table for table in found if not table.gateway)
    if not found and not select.tables:
        raise UsageError(f"route tables: none found by {select} in {api.access.region}")
    return tuple(sorted(found, key=lambda table: table.id))


def holders(api: Api, destination: str) -> tuple[RouteTable, ...]:
    """Read every table of the region that has a route to this destination; as advice, which may fail at once."""
    name = "route.destination-ipv6-cidr-block" if ":" in destination else "route.destination-cidr-block"
    return api.pages(lambda token: replace(actions.describe_tables({name: [destination]}, token), advice=True))
