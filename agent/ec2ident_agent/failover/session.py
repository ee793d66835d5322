"""What the parts share during one action: the settings, one deadline, the log, this instance, and the API.

This is the one place that makes the API: how to reach it, the deadline, and the role to assume.
"""

from __future__ import annotations

import os

from ec2ident.value import Value

from . import this_instance
from .aws import shared_config
from .aws.client import Api
from .aws.endpoints import Access
from .errors import UsageError
from .records.memory import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Union

    from .agent_bridge import AgentBridge
    from .aws.deadline import Deadline
    from .settings import DnsSettings, EniSettings, RouteSettings, Settings

    Log = Callable[[str], object]
    OfRole = Union[RouteSettings, EniSettings, DnsSettings]


class Device(Value):
    """A network device of this node; `mac` is empty if the kernel does not show it."""

    name: str
    mac: str = ""
    #: Whether the kernel did not make it itself, as it makes bridges and dummies.
    card: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether it is the loopback device, which belongs to no ENI."""
        return self.mac == "00:00:00:00:00:00"

    def __str__(self) -> str:
        return f"device {self.name} ({self.mac or 'not on this node'})"


class Session:
    """One action. Use it as a context manager: it closes the connections at the end.

    `advise` says whether to make calls that serve warnings only; `patient`, whether to wait until the deadline for a
    metadata service that is not there. `here` is this node, None if the target is another one. `memory` remembers what
    a release puts back.
    """

    def __init__(
        self,
        settings: Settings,
        deadline: Deadline,
        log: Log,
        *,
        environ: Mapping[str, str] | None = None,
        root: str = "/",
        advise: bool = True,
        patient: bool = False,
        here: AgentBridge | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.settings, self.deadline, self.log = settings, deadline, log
        self.advise, self.patient = advise, patient
        self.here, self.memory = here, memory or Memory()
        self._environ, self._root = os.environ if environ is None else environ, root
        self._metadata = this_instance.metadata_service(self._environ, deadline, patient=patient)
        self._region = self._instance = ""
        self._apis: dict[tuple[str, str], Api] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for api in self._apis.values():
            api.close()

    @property
    def region(self) -> str:
        """The region. Asks the metadata service only if nothing else names it. Raises UsageError, ApiUnknownError."""
        if not self._region:
            given = self.settings.region or self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION")
            given = given or shared_config.read(self._environ, self.settings.profile).get("region", "")
            self._region = this_instance.region_of(given, self._environ, self._metadata)
        return self._region

    @property
    def instance(self) -> str:
        """The instance that the service moves to; this one if none is configured. Raises ApiUnknownError."""
        given = self.settings.instance
        self._instance = self._instance or this_instance.instance_of(given, self._root, self._metadata)
        return self._instance

    @property
    def known_instance(self) -> str:
        """The instance if it is known already, else "". Asks nothing."""
        return self._instance or self.settings.instance or this_instance.board_tag(self._root)

    @property
    def is_this_node(self) -> bool:
        """Whether the firmware of this node says that it is the instance."""
        return this_instance.board_tag(self._root) == self.instance

    def device(self, name: str, addresses: Sequence[str]) -> Device | None:
        """The device of this node that these addresses go to: as named, else as the agent's configuration says.

        None if neither says so, or if the target is another node. Raises UsageError, AgentError.
        """
        from .agent_bridge import link_of

        if self.here is None:
            return None
        names = {name} if name else {self.here.configured_device(each) for each in addresses}
        if len(names) > 1:
            said = ", ".join(sorted(names)).lstrip(", ")
            raise UsageError(f"device: the agent's configuration has the addresses on several ({said}); write device")
        found = names.pop() if names else ""
        link = link_of(found) if found else None
        return Device(found, link.mac if link else "", bool(link and not link.kind)) if found else None

    def api(self, role_arn: str = "", external_id: str = "") -> Api:
        """The API with the credentials of a role; by default of the configured one. Raises UsageError.

        Every role is assumed with the node's own credentials.
        """
        found = self.settings
        role = (role_arn, external_id) if role_arn else (found.role_arn, found.external_id)
        if role not in self._apis:
            access = Access(
                region=self.region,
                profile=found.profile,
                role_arn=role[0],
                external_id=role[1],
                endpoint=found.endpoint,
                endpoints=found.endpoints,
                ca_bundle=found.ca_bundle,
                proxy=found.proxy,
                fips=found.fips,
                dual_stack=found.dual_stack,
                attempt=found.attempt,
            )
            self._apis[role] = Api(access, self.deadline, environ=self._environ, log=self.log, patient=self.patient)
        return self._apis[role]

    def api_for(self, settings: OfRole) -> Api:
        """The API for a part that may have a role of its own, as for the tables or the zone of another account."""
        return self.api(settings.role_arn, settings.external_id)

    @property
    def looks(self) -> tuple[str, ...]:
        """Every call so far that changed nothing, as a person would type it, sorted."""
        return tuple(sorted({look for api in self._apis.values() for look in api.looks}))

    def remember(self, key: tuple[str, ...], value: tuple[str, ...]) -> None:
        """Remember something for a release. A move is worth more than what a release puts back after it."""
        try:
            self.memory.note(key, value)
        except OSError as error:
            self.log(f"warning: a release will not put it back: {' '.join(key)}: {error}")
