"""Make sure that a VPC has a private hosted zone of a name: look what is missing, and do it.

The caller reference of a new zone is made from what is asked, so that a repeated run makes no second zone. It also says
later that the zone is one of this program's. Only such a zone is tagged: the tags of others are their owner's.
"""

from __future__ import annotations

from ec2ident.value import Value
from ec2ident_agent.failover.aws import actions, consistency, forms
from ec2ident_agent.failover.aws.deadline import each
from ec2ident_agent.failover.aws.response import name as normal
from ec2ident_agent.failover.errors import ApiError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.model import HostedZone

#: How the caller references of this program begin, and the key of the tag of its zones.
MADE = "ec2ident"

#: A hosted zone with the reference of this request was created before.
TAKEN = "HostedZoneAlreadyExists"

#: So often may a zone of one name and VPC be deleted and created again.
REFERENCES = 9

#: In a plan, the id of the zone that is still to be created.
NEW = "ZONE"


class ZoneSight(Value):
    """What a look found: the id of the zone, "" if there is none, and the steps that are missing."""

    zone: str
    #: Each call, and the line that says it was done; `{zone}` in it is the id.
    steps: tuple[tuple[ApiCall, str], ...]
    #: The tags that are missing, or have other values.
    tags: Mapping[str, str]

    def calls(self) -> list[ApiCall]:
        """All calls in order, for a plan."""
        tagging = [actions.tag_zone(self.zone or NEW, self.tags)] if self.tags else []
        return [*(call for call, _ in self.steps), *tagging]


class EnsuredZone(Value):
    """A zone that is as asked for, and a line for each change that this needed."""

    zone: str
    done: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join((*self.done, self.zone))


def look(api: Api, name: str, vpc: str, region: str, *, tags: Sequence[str] = (), number: int = 1) -> ZoneSight:
    """Look what is missing for the VPC to have a private zone of this name, and both DNS attributes on.

    `tags` are texts KEY=VALUE; `number` tells the references of zones apart that were deleted since. Raises UsageError
    if several private zones have the name and the VPC has none of them.
    """
    import hashlib

    forms.named("vpc", forms.identifier("vpc"), vpc)
    pairs = dict(forms.named("tag", forms.tag, one).partition("=")[::2] for one in tags)
    name = normal(name)
    reference = f"{MADE}-{hashlib.sha256(f'{name} {vpc} {region}'.encode()).hexdigest()[:32]}-{number}"
    listed: tuple[HostedZone, ...] = api.call(actions.zones_by_name(name))
    ids = [found.id for found in listed if found.name == name and found.private]
    same: list[HostedZone] = each(lambda one: api.call(actions.get_zone(one)), ids)
    # A VPC is never associated with two zones of one name.
    ours = [found for found in same if vpc in {known for known, _ in found.vpcs}]
    if len(same) > 1 and not ours:
        raise UsageError(f"zone: {name} is {len(same)} private zones, none of {vpc}: {', '.join(ids)}")
    steps: list[tuple[ApiCall, str]] = [
        (actions.modify_vpc(vpc, attribute), f"{vpc}: {attribute} switched on") for attribute in _off(api, vpc)
    ]
    if ours:
        return ZoneSight(ours[0].id, tuple(steps), _untagged(api, ours[0], pairs))
    if same:
        call = actions.associate_zone(same[0].id, vpc, region)
        steps.append((call, f"{{zone}}: associated with {vpc}"))
        return ZoneSight(same[0].id, tuple(steps), _untagged(api, same[0], pairs))
    call = actions.create_zone(name, vpc, region, reference)
    steps.append((call, f"{{zone}}: created, associated with {vpc}"))
    return ZoneSight("", tuple(steps), {**pairs, MADE: reference})


def _untagged(api: Api, zone: HostedZone, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that a zone of this program lacks: an earlier run may have ended before it tagged the zone."""
    if not zone.reference.startswith(f"{MADE}-"):
        return {}
    there: dict[str, str] = api.call(actions.list_zone_tags(zone.id))
    wanted = {**tags, MADE: zone.reference}
    return {key: value for key, value in wanted.items() if there.get(key) != value}


def ensure(api: Api, name: str, vpc: str, region: str, *, tags: Sequence[str] = ()) -> EnsuredZone:
    """Make sure that the VPC has a private zone of this name and both DNS attributes on.

    Raises as `look`, and ApiError.
    """
    done: list[str] = []
    number, began = 1, api.deadline.used
    while True:
        looked = api.deadline.used
        sight = look(api, name, vpc, region, tags=tags, number=number)
        try:
            return EnsuredZone(_with_steps(api, sight, done), tuple(done))
        except ApiError as error:
            if error.code != TAKEN or number >= REFERENCES:
                raise
            # An earlier run created it: the list is old, or it was deleted since.
            if looked - began >= consistency.SETTLED:
                number, began = number + 1, api.deadline.used
            api.deadline.pause(consistency.LONGEST_LOOK, f"{error}")


def _with_steps(api: Api, sight: ZoneSight, done: list[str]) -> str:
    """Do the steps, and add a line for each. Returns the id of the zone."""
    found = sight.zone
    for call, line in sight.steps:
        answer = api.call(call)
        found = found or getattr(answer, "id", "")
        done.append(line.format(zone=found))
    if sight.tags:
        api.call(actions.tag_zone(found, sight.tags))
        done.append(f"{found}: tagged: {' '.join(f'{key}={value}' for key, value in sight.tags.items())}")
    return found


def _off(api: Api, vpc: str) -> list[str]:
    """The DNS attributes that are off; enableDnsHostnames needs enableDnsSupport, so in this order."""
    names = ("enableDnsSupport", "enableDnsHostnames")
    on = each(lambda attribute: api.call(actions.describe_vpc_attribute(vpc, attribute)), names)
    return [name for name, value in zip(names, on) if not value]
