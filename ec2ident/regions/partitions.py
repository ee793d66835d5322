"""Region -> partition, DNS suffix, and where each service listens: AWS's endpoint rules, answered without a network.

AWS is several clouds with nothing in common but the software: the commercial partition, China, GovCloud, the sovereign
cloud of the EU and the isolated ones. Source: the partitions and the endpoint rule sets that AWS publishes with its
SDKs, as templates in `endpoints.py`. The rules say where a service would be, not whether it is offered in a region.
"""

from __future__ import annotations

from ec2ident.errors import UnknownNameError
from ec2ident.value import Value

from .endpoints import OTHERS, PARTITIONS, PLAIN, PREFIXES

_PLAIN = frozenset(PLAIN.split())


class Partition(Value):
    """One of AWS's clouds. Get one from `Partition.of(region)`."""

    #: `aws`, `aws-cn`, `aws-us-gov`, `aws-eusc`, `aws-iso` and its likes: the second field of every ARN.
    name: str
    dns_suffix: str
    #: The suffix of endpoints that answer over IPv4 and IPv6.
    dual_stack_suffix: str
    #: The region that serves what is not regional, such as Route 53.
    global_region: str
    #: What names of regions look like here, as a regular expression: AWS opens new ones.
    pattern: str
    #: The regions known when this was written, sorted.
    regions: tuple[str, ...]
    #: Names that stand for the whole partition, such as `aws-global`.
    pseudo_regions: tuple[str, ...] = ()

    @classmethod
    def all(cls) -> tuple[Partition, ...]:
        """Every partition, the commercial one first."""
        return _ALL

    @classmethod
    def of(cls, region: str) -> Partition:
        """The partition of a region, of one that is not yet known too. Raises UnknownNameError."""
        for partition in _ALL:
            if region in partition.regions or region in partition.pseudo_regions:
                return partition
        import re

        for partition in _ALL:
            if re.fullmatch(partition.pattern, region, re.ASCII):
                return partition
        raise UnknownNameError(
            f"region: {region!r} is like no region of {', '.join(partition.name for partition in _ALL)}"
        )

    def endpoint(self, service: str, region: str) -> str:
        """The URL of a service in a region of this partition, such as `https://ec2.cn-north-1.amazonaws.com.cn`.

        `service` is a name as the SDKs and the command line use it (`ec2`, `cloudwatch`), or an endpoint prefix
        (`monitoring`). Raises UnknownNameError for an unknown service and for another partition's region.
        """
        return f"https://{self._fill(self._rule(service, region)[0], region)}"

    def signing_region(self, service: str, region: str) -> str:
        """The region to name in a request's signature (Signature Version 4). Raises as `endpoint` does."""
        return self._fill(self._rule(service, region)[1], region)

    def endpoints(self, service: str) -> dict[str, str]:
        """The URL of a service in each known region. Raises UnknownNameError."""
        return {region: self.endpoint(service, region) for region in self.regions}

    def _rule(self, service: str, region: str) -> tuple[str, str]:
        """The templates of the host and of the region that signs."""
        its = Partition.of(region).name
        if its != self.name:
            raise UnknownNameError(f"region: {region} is in {its} (not in {self.name})")
        rule, exceptions = _rules(service)
        host, _, signer = exceptions.get(region, exceptions.get(self.name, rule)).partition(" @")
        return host, signer or "{region}"

    def _fill(self, template: str, region: str) -> str:
        fields = {
            "{region}": region,
            "{suffix}": self.dns_suffix,
            "{dual}": self.dual_stack_suffix,
            "{global}": self.global_region,
        }
        for field, value in fields.items():
            template = template.replace(field, value)
        return template


def services() -> tuple[str, ...]:
    """The names of all services that have an endpoint rule, sorted."""
    return tuple(sorted([*_PLAIN, *OTHERS]))


def _rules(service: str) -> tuple[str, dict[str, str]]:
    """The template of a service, and its exceptions by partition or region."""
    name = service if service in _PLAIN or service in OTHERS else PREFIXES.get(service)
    if name is None:
        raise UnknownNameError(
            f"service: AWS's endpoint rules know no {service!r}; see ec2ident.regions.partitions.services()"
        )
    rule, *others = OTHERS.get(name, name + ".{region}.{suffix}").split("; ")
    split = [other.split(" = ") for other in others]
    return rule, {where: template for names, template in split for where in names.split()}


def _partition(name: str, suffix: str, dual: str, global_region: str, pattern: str, known: str) -> Partition:
    pseudo = tuple(region for region in known.split() if region == f"{name}-global")
    return Partition(name, suffix, dual, global_region, pattern, tuple(sorted({*known.split()} - {*pseudo})), pseudo)


_ALL = tuple(_partition(*row) for row in PARTITIONS)
