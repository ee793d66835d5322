"""The cluster engine's agents `ocf:ec2ident:overlay`, `:eni` and `:dns` (OCF Resource Agent API 1.0).

What an agent says is acted upon, so each answer is taken from a table:

- a probe runs on every node, also where nothing may be touched: it looks at this node alone, and writes nothing;
- "cannot tell" (throttled, denied, no answer) is neither a failure nor "not running" while this node holds its part;
- a stop is local: it needs no API, no metadata service, no valid configuration. A stop that fails gets the node fenced;
- a start says 0 only when the monitor that follows will agree: else the engine restarts it without pause or end.

The engine ends what takes too long by SIGKILL, without a warning. So every action ends by itself before.
"""

from __future__ import annotations

import os
import sys

from ec2ident.value import Value
from ec2ident_agent.errors import AgentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import ClassVar

    from ec2ident_agent.failover.agent_bridge import AgentBridge
    from ec2ident_agent.failover.aws.client import Api
    from ec2ident_agent.failover.aws.deadline import Deadline
    from ec2ident_agent.failover.settings import Service, Settings
    from ec2ident_agent.items import Address

SUCCESS, GENERIC, ARGS, UNIMPLEMENTED, PERMISSION, INSTALLED, CONFIGURED, NOT_RUNNING = range(8)

#: What this node itself says of its part: all of it is here, some of it, or nothing.
HELD, PARTLY, ABSENT = "held", "partly", "absent"
#: What the API says of it. Unknown is no answer.
HERE, ELSEWHERE, UNKNOWN = "here", "elsewhere", "unknown"

#: A monitor's answer. Not running is said only where nothing is here; the API is asked only where all is.
#: A probe never asks the API, and partly is for a probe what it is for a monitor: to be stopped.
ANSWERS = {
    (HELD, HERE): SUCCESS,
    (HELD, UNKNOWN): SUCCESS,
    (HELD, ELSEWHERE): GENERIC,
    (PARTLY, UNKNOWN): GENERIC,
    (ABSENT, UNKNOWN): NOT_RUNNING,
}

#: Seconds after which the API is asked again before somebody else has it. A start waits longer for what it wrote.
LOOK_AGAIN = 1.0

#: The longest reason that is shown, in characters; the engine cuts what is longer.
REASON = 128

#: What `install` says besides, where it was not the default.
FILES = {"--state-dir", "--config"}

#: What an action has where the engine does not say, in seconds.
TIMEOUT = 20.0


class Request(Value):
    """What the engine asks for: the environment of an agent, read once."""

    kind: str
    action: str
    values: Mapping[str, str]
    #: Seconds that the engine waits.
    timeout: float
    probe: bool
    deep: bool
    instance: str
    prefix: str
    #: The agent's configuration, where it was installed with one of its own.
    config: str = ""

    @property
    def deadline(self) -> float:
        """Seconds after which the action has given up; some are left to say so."""
        return max(0.2, min(self.timeout * 0.8, self.timeout - 0.5))

    @property
    def state_dir(self) -> str:
        return self.values["state_dir"]


def read(kind: str, action: str, environ: Mapping[str, str], installed: Sequence[str] = ()) -> Request:
    """Pure. A number that is none counts as not said. `installed` are the files that ec2ident-agent was installed with.

    With a journal other than the agent's the address would be ours, but wished by nobody that the agent knows of.
    """
    from .parameters import given

    def number(name: str) -> int:
        text = environ.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0

    files = dict(zip(installed[::2], installed[1::2]))
    state = {"OCF_RESKEY_state_dir": files["--state-dir"]} if "--state-dir" in files else {}
    return Request(
        kind,
        action,
        given(kind, {**state, **{name: value for name, value in environ.items() if value.strip()}}),
        number("OCF_RESKEY_CRM_meta_timeout") / 1000 or TIMEOUT,
        action == "monitor" and not number("OCF_RESKEY_CRM_meta_interval"),
        max(number("OCF_CHECK_LEVEL"), number("OCF_RESKEY_OCF_CHECK_LEVEL")) >= 10,
        environ.get("OCF_RESOURCE_INSTANCE", kind),
        environ.get("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:"),
        files.get("--config", ""),
    )


# What this node has


class Addresses:
    """The overlay address: the kernel itself is asked, so nothing needs to be remembered."""

    #: What the engine shows for PARTLY.
    lacking = "only some of the addresses are on this node"

    def __init__(self, request: Request, local: Callable[[], AgentBridge], say: Callable[[str], object]) -> None:
        self._local, self._state_dir, self._say = local, request.state_dir, say
        self._texts = request.values.get("address", "").replace(",", " ").split()
        #: Seconds for somebody else who holds the agent's lock. He does so for a moment, or hangs.
        self._wait = request.deadline / 4

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those that are addresses. What is none can never have been held."""
        from ec2ident_agent.inet import single

        found = []
        for text in self._texts:
            try:
                found.append(single(text))
            except ValueError:
                continue
        return tuple(found)

    def look(self) -> str:
        """HELD, PARTLY or ABSENT, whatever the prefix length and the device. Raises UnknownError."""
        addresses = self.addresses
        held = {each.address.partition("/")[0] for each in _seen()}
        here = [each for each in addresses if each.partition("/")[0] in held]
        return ABSENT if not here else HELD if len(here) == len(addresses) else PARTLY

    def keep(self, mac: str) -> None:
        """Takeover has laid them."""

    def drop(self) -> None:
        """Exactly what was laid; and the address too that nobody remembers laying: two nodes must not answer."""
        if self.look() == ABSENT and not os.path.exists(os.path.join(self._state_dir, "journal")):
            return
        from ec2ident_agent.items import Step
        from ec2ident_agent.kernel.change import NetlinkKernel

        try:
            self._local().release(*self.addresses, wait=self._wait)
        except AgentError as error:
            # A damaged journal must not keep the address here; what else was laid for it harms nobody.
            self._say(f"{' '.join(self.addresses)}: {error}")
        names = {each.partition("/")[0] for each in self.addresses}
        left = [Step("del", each) for each in _seen() if each.address.partition("/")[0] in names]
        if left:
            for failure in NetlinkKernel().do(left):
                raise AgentError(str(failure))


def _seen() -> list[Address]:
    from ec2ident_agent.items import Address
    from ec2ident_agent.kernel.dump import Channel, addresses, links

    channel = Channel()
    try:
        names = {each.index: each.name for each in links(channel)}
        return [each.item for each in addresses(channel, names) if isinstance(each.item, Address)]
    finally:
        channel.close()


class Mark:
    """A file that says that the resource was started here since boot, where nothing else on the node does.

    It is gone at boot, with the directory it is in. Where an interface moved it has that one's MAC address, so that a
    plain monitor sees when it is taken away.
    """

    lacking = "the interface is not on this node any more"

    def __init__(self, request: Request, local: Callable[[], AgentBridge], say: Callable[[str], object]) -> None:
        self._local = local
        self._directory = os.path.join(request.state_dir, "ocf")
        safe = "".join(c if c.isalnum() or c in "-_" else f"%{ord(c):02x}" for c in request.instance)
        self._path = os.path.join(self._directory, f"{request.kind}-{safe}")

    def look(self) -> str:
        """HELD, PARTLY (started here, but the interface is not on this node) or ABSENT. Raises UnknownError."""
        try:
            with open(self._path, "rb") as file:
                mac = file.read(64).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ABSENT
        return HELD if not mac or self._local().shows(mac) else PARTLY

    def keep(self, mac: str) -> None:
        os.makedirs(self._directory, 0o755, exist_ok=True)
        with open(self._path, "w", encoding="ascii") as file:
            file.write(mac)

    def drop(self) -> None:
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            return


SIDES: Mapping[str, type[Addresses | Mark]] = {"overlay": Addresses, "eni": Mark, "dns": Mark}


# The agent


class Agent:
    """One action. `say` is the log; `root` and `here` (this node's side) are effects that a test may replace."""

    def __init__(
        self,
        request: Request,
        environ: Mapping[str, str],
        say: Callable[[str], object],
        root: str = "/",
        here: Callable[[], AgentBridge] | None = None,
    ) -> None:
        self.request, self.environ, self.say, self.root = request, environ, say, root
        self.local = here or self._local
        self.side = SIDES[request.kind](request, self.local, say)

    def _local(self) -> AgentBridge:
        from ec2ident_agent.failover.agent_bridge import AgentBridge

        return AgentBridge(self.say, self.request.state_dir, self.request.config)

    def run(self) -> int:
        """The exit code. Raises AgentError, for which `failed` has the code."""
        return self.ACTIONS[self.request.action](self)

    def monitor(self) -> int:
        here = self.side.look()
        if here == PARTLY:
            self.say(f"{self.request.prefix}{self.side.lacking}")
        there = UNKNOWN
        if here == HELD and self.request.deep and not self.request.probe:
            there = self.ask()
        return ANSWERS[here, there]

    def ask(self) -> str:
        """What the API says. Whatever prevents an answer is no answer."""
        try:
            wrong = self._compare()
        except Exception as error:  # noqa: BLE001  an error of our own is no reason to restart a healthy service
            self.say(f"cannot tell: {type(error).__name__}: {error}")
            return UNKNOWN
        if wrong:
            self.say(reason(self.request, wrong))
        return ELSEWHERE if wrong else HERE

    def _compare(self) -> str:
        """What is not as it should be; nothing where all is.

        EC2 is eventually consistent, and the engine looks right after a start: an answer of a moment ago is no failure.
        """
        from ec2ident_agent.failover import this_instance

        settings = self.settings()
        with _Session(self, settings) as session:
            instance = this_instance.instance_of(settings.instance, self.root, session.metadata)
            wrong = self._wrong(session.api, settings.services[0], instance)
            if wrong:
                session.deadline.pause(LOOK_AGAIN, wrong)
                wrong = self._wrong(session.api, settings.services[0], instance)
        return wrong

    @staticmethod
    def _wrong(api: Api, service: Service, instance: str) -> str:
        from ec2ident_agent.failover import dns, eni, route

        if service.route:
            part = service.route
            sight = route.look(api, part.select, service.overlay, eni=part.eni, instance=instance, others=False)
            shown = route.show(sight, service.overlay).outcomes
            return "; ".join(str(each) for each in shown if each.verb in ("other", "absent"))
        if service.eni:
            found = eni.find(api, service.eni.find)
            return "" if eni.here(found, instance) else f"{found.id}: is at {found.holder or 'nobody'}"
        part_dns = service.dns
        assert part_dns
        values = part_dns.values or route.carrier(api, "", instance).addresses[:1]
        wanted = dns.wanted(part_dns.name, values, part_dns.ttl)
        return "; ".join(str(each) for each in dns.compare(api, part_dns.zone, wanted) if each)

    def settings(self) -> Settings:
        from ec2ident_agent.failover import settings

        from .parameters import as_toml

        return settings.parse(as_toml(self.request.kind, self.request.values).encode())

    def validate(self) -> int:
        """Whether the parameters can be right. Asks nobody."""
        service: Service = self.settings().services[0]
        if self.request.kind == "overlay":
            from ec2ident_agent.config import overlay

            for each in service.overlay:
                overlay(
                    {"address": each, "device": service.device, **({"label": service.label} if service.label else {})}
                )
        if self.request.kind == "dns":
            from ec2ident_agent.failover import dns

            dns.wanted(service.dns.name, service.dns.values or ["192.0.2.1"], service.dns.ttl)  # type: ignore[union-attr]
        if self.request.kind == "overlay" and not service.route:
            from ec2ident_agent.failover.errors import UsageError

            raise UsageError("tables: is missing; or give table_tag or vpc")
        return SUCCESS

    def start(self) -> int:
        from ec2ident_agent.failover import this_instance
        from ec2ident_agent.failover.takeover import Takeover

        self.validate()
        settings = self.settings()
        with _Session(self, settings) as session:
            instance = this_instance.instance_of(settings.instance, self.root, session.metadata)
            run = Takeover(session.api, settings.services[0], instance, self.local(), self.say)
            found = run.decide()
            code = run.run(found)
        if code:
            self.say(reason(self.request, run.failures[0] if run.failures else "not all of it moved here; see the log"))
            return GENERIC
        self.side.keep(found.interface[0].mac if found.interface else "")
        if self.side.look() != HELD:
            self.say(f"{self.request.prefix}moved, but not all of it is on this node")
            return GENERIC
        return SUCCESS

    def stop(self) -> int:
        self.side.drop()
        if self.side.look() == ABSENT:
            return SUCCESS
        self.say(f"{self.request.prefix}still on this node after its removal")
        return GENERIC

    def describe(self) -> int:
        from .parameters import metadata

        sys.stdout.write(metadata(self.request.kind))
        return SUCCESS

    ACTIONS: ClassVar[dict[str, Callable[[Agent], int]]] = {
        "start": start,
        "stop": stop,
        "monitor": monitor,
        "status": monitor,
        "validate-all": validate,
        "meta-data": describe,
    }


class _Session:
    """The API for one action, within most of its time: what is left is for the way back."""

    def __init__(self, agent: Agent, settings: Settings) -> None:
        from ec2ident_agent.failover import this_instance
        from ec2ident_agent.failover.aws.client import Access, Api
        from ec2ident_agent.failover.aws.deadline import Deadline

        # An answer is never later than four fifths of the whole: then a failed start can still undo and say so.
        self.deadline: Deadline = Deadline(agent.request.deadline * 0.8)
        self.metadata = this_instance.metadata_service(agent.environ, self.deadline)
        access = Access(
            this_instance.region_of(settings.region, agent.environ, self.metadata),
            settings.profile,
            settings.role_arn,
            settings.external_id,
            settings.endpoint,
            settings.ca_bundle,
            settings.attempt,
        )
        self.api: Api = Api(access, self.deadline, environ=agent.environ, log=agent.say)

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()


#: What an error of an action means, by the exit code that it has on the command line: 2 is a wrong parameter.
#: A wrong parameter is 2 and not 6: 6 stops the resource on every node, where it may well be running.
CODES = {2: ARGS}


def failed(action: str, error: AgentError) -> int:
    return CODES.get(error.exit, GENERIC) if action != "stop" else GENERIC


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """`KIND ACTION [--state-dir DIR] [--config FILE]`, as the engine's executables call it. Returns the exit code.

    It ends the process at the deadline.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    environ = os.environ if environ is None else environ
    if len(words) < 2 or words[0] not in SIDES or words[1] not in Agent.ACTIONS or {*words[2::2]} - FILES:
        _say(f"usage: ec2ident-ocf {{{','.join(SIDES)}}} {{{','.join(Agent.ACTIONS)}}}")
        return UNIMPLEMENTED
    request = read(words[0], words[1], environ, words[2:])
    agent = Agent(request, environ, _say)
    _end_at(request)
    try:
        return agent.run()
    except AgentError as error:
        _say(f"{request.action}: {error}")
        _say(reason(request, error))
        return failed(request.action, error)
    except OSError as error:
        _say(reason(request, error))
        return GENERIC
    except Exception as error:  # noqa: BLE001  an error of our own: the engine shows one line of it, the log has all
        import traceback

        _say(traceback.format_exc())
        _say(reason(request, f"{type(error).__name__}: {error}"))
        return GENERIC


def reason(request: Request, error: object) -> str:
    """One line that the engine shows: of a denied call what to allow, as its own words would fill the line."""
    cause = getattr(error, "__cause__", None) or error
    line = " ".join(str(getattr(cause, "brief", cause)).split())
    return f"{request.prefix}{line}"[: len(request.prefix) + REASON]


def _say(line: str) -> None:
    sys.stderr.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stderr.flush()


def _end_at(request: Request) -> None:
    """Whatever hangs: the process ends by itself. What it was changing is journalled, and the next action goes on."""
    import signal

    def end(*_: object) -> None:
        held = request.action == "monitor" and not request.probe
        _say(f"{request.prefix}{request.action}: not done within {request.deadline:g} s")
        # A recurring monitor that could not look is no reason to restart what ran a moment ago.
        os._exit(SUCCESS if held and request.deep else GENERIC)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, request.deadline)


if __name__ == "__main__":
    sys.exit(main())
