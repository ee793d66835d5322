"""The source/destination check of an ENI, which is off while a service of this node needs that.

It drops all traffic to an address that is not the ENI's own, so a move of an overlay route switches it off. What a
release has to switch on again is remembered for each service, see `Memory`.
"""

from __future__ import annotations

from functools import partial

from ec2ident.value import replace
from ec2ident_agent.failover.aws import actions
from ec2ident_agent.failover.errors import ApiError

from .part import Finding, Release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ec2ident_agent.failover.aws.actions import ApiCall
    from ec2ident_agent.failover.aws.model import NetworkInterface
    from ec2ident_agent.failover.records.memory import Memory
    from ec2ident_agent.failover.session import Session


def seen(session: Session, eni: NetworkInterface) -> NetworkInterface:
    """The ENI as it is: a release on this node switched the check on, and the look may be older than that."""
    return replace(eni, check=True) if session.memory.get("restored", eni.id) else eni


def needed_off(session: Session, eni: NetworkInterface) -> None:
    """Remember that this service needs it off. Another service may have switched it off, and need it to stay so."""
    if eni.check or not session.memory.get("check", eni.id):
        session.remember(("check", eni.id), (eni.owner, "switched off" if eni.check else "was off"))
        session.memory.forget("restored", eni.id)


def finding(eni: NetworkInterface) -> Finding:
    """How it stands, for `verify`."""
    if eni.check:
        said = "source/destination check is on: it drops what is not for its own addresses"
        return Finding(f"{eni.id}: {said}", warning=True)
    return Finding(f"{eni.id}: source/destination check is off, as it should be")


def release(session: Session) -> Iterator[Release]:
    """Switch the check on again where a move of this service switched it off.

    The call may be repeated, so it needs no look. If another service of this node uses the ENI too, the check stays
    off, and that service will switch it on.
    """
    for (eni,), (owner, was) in session.memory.all("check"):
        others = session.memory.others("check", eni)
        if was == "was off":
            session.memory.forget("check", eni)
        elif others:
            yield Release((), partial(_handed_over, session.memory, eni, owner, others[0]))
        else:
            call = actions.source_dest_check(eni, owner, True)
            yield Release((str(call),), partial(_switched_on, session, eni, call))


def _handed_over(memory: Memory, eni: str, owner: str, other: str) -> Iterator[Finding]:
    memory.hand_over(other, ("check", eni), (owner, "switched off"))
    yield Finding(f"{eni}: source/destination check stays off: {other} needs that")


def _switched_on(session: Session, eni: str, call: ApiCall) -> Iterator[Finding]:
    try:
        session.api().call(call)
        yield Finding(f"{eni}: source/destination check switched on again")
    except ApiError as error:
        if error.code != "InvalidNetworkInterfaceID.NotFound":
            raise
        yield Finding(f"{eni}: does not exist any more")
    session.remember(("restored", eni), ("on",))
    session.memory.forget("check", eni)
