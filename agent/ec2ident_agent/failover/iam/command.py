"""The verb `policy`: which of the policies is asked for, and what must be looked up for it."""

from __future__ import annotations

from ec2ident.program.frame import log
from ec2ident.value import replace
from ec2ident_agent.failover import arguments
from ec2ident_agent.failover.aws import actions, forms
from ec2ident_agent.failover.errors import UsageError
from ec2ident_agent.failover.parts import dns, eni
from ec2ident_agent.failover.selectors import EniSelector

from .policy import assume, document, for_verb, principal_of, roles_of, trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from typing import Any

    from ec2ident_agent.failover.session import Session
    from ec2ident_agent.failover.settings import Settings


class PolicyCommand:
    """One call of the verb, with its options."""

    def __init__(self, options: argparse.Namespace, session: Session, settings: Settings) -> None:
        self.options, self.session, self.settings = options, session, settings

    def document(self) -> Any:
        """One policy, or with --all those of both sides. Raises UsageError, and the errors of a look-up."""
        options, roles = self.options, roles_of(self.settings)
        asked = ("role", "trust", "for_verb", "node_role", "all")
        if sum(bool(getattr(options, name)) for name in asked) > 1:
            raise UsageError(f"policy: give one of {', '.join(map(arguments.flag, asked))}".replace("for-verb", "for"))
        for name in ("role", "trust"):
            if getattr(options, name) and getattr(options, name) not in roles:
                raise UsageError(f"--{name}: {getattr(options, name)} is not configured as role_arn")
        if options.for_verb:
            account = self._account() if options.for_verb != "route delete" else self._owner_of_tables()
            more = {"subnet": options.subnet, "groups": options.group, "vpc": options.vpc}
            return for_verb(self.settings, options.for_verb, self.session.region, account, **more)
        if options.node_role:
            if not roles:
                raise UsageError("policy: --node-role needs a configured role_arn")
            return assume(roles)
        if options.trust:
            return self._trust(options.trust, roles)
        if not options.all:
            return self._policy(options.role)
        top = self.settings.role_arn
        nodes = {"principal": "the nodes' own role", "policy": assume(roles) if top else self._policy("")}
        others = [
            {"principal": each, "policy": self._policy(each), "trust": self._trust(each, roles)} for each in roles
        ]
        return [nodes, *others]

    def _account(self) -> str:
        """The account of the nodes."""
        found = self.settings
        account = found.account or (found.role_arn.split(":")[4] if found.role_arn else "")
        return account or str(self.session.api().call(actions.caller_identity()).account)

    def _owner_of_tables(self) -> str:
        roles = {each.route.role_arn for each in self.settings.services if each.route}
        return next((each.split(":")[4] for each in roles if each), "") or self._account()

    def _policy(self, role: str) -> Any:
        role = "" if role == self.settings.role_arn else role
        account, release = role.split(":")[4] if role else self._account(), self.options.release
        found = self._resolved()
        return document(found, self.session.region, account, zones=self._zones(role), release=release, role=role)

    def _zones(self, role: str) -> dict[str, str]:
        """The id of each zone of this role that is configured by its name."""
        parts = [each.dns for each in self.settings.services if each.dns and each.dns.role_arn == role]
        return {
            part.zone: dns.zone_id(self.session.api_for(part), part.zone, vpc=part.vpc, public=part.public)
            for part in parts
            if part.zone.endswith(".")
        }

    def _resolved(self) -> Settings:
        """The settings with each ENI by its id: an ARN has no address, and a tag would need a statement of its own."""
        found = []
        for each in self.settings.services:
            part = each.eni
            if part and not part.find.id:
                seen = eni.find(self.session.api_for(part), part.find)
                log(f"policy: {part.find} is {seen.id}")
                each = replace(each, eni=replace(part, find=EniSelector(id=seen.id)))
            found.append(each)
        return replace(self.settings, services=tuple(found))

    def _trust(self, role: str, roles: Mapping[str, str]) -> Any:
        given = self.options.principal
        principal = forms.named("--principal", forms.principal, given) if given else ""
        principal = principal or principal_of(self.session.api().call(actions.caller_identity()).arn)
        return trust(principal, roles[role])
