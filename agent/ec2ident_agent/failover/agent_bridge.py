"""This node's side of a move, done by the agent: hold an overlay address, wait for an interface, lay its profile."""

from __future__ import annotations

import os

from .errors import OutOfTimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ec2ident_agent.engine import Wish
    from ec2ident_agent.items import Observed, Step
    from ec2ident_agent.wanted import Wanted

    from .aws.deadline import Deadline

    Log = Callable[[str], object]

#: Seconds between two looks for an interface that is on its way. The link is there some 10 ms after the attach.
LOOK_EVERY = 0.1


class Local:
    """The agent on this node. `options` go to it as they are, such as `--state-dir DIR`."""

    def __init__(self, log: Log, options: Sequence[str] = ()) -> None:
        self.log, self.options = log, tuple(options)

    def _wanted(self, *arguments: str) -> Wanted:
        from ec2ident_agent.options import read
        from ec2ident_agent.wanted import Wanted

        return Wanted(read([*arguments, *self.options]))

    def _overlay(self, address: str, device: str, label: str) -> Wanted:
        words = ["overlay", "add", address]
        words += ["--device", device] if device else []
        return self._wanted(*words, *(["--label", label] if label else []))

    def _wish(self, run: Wanted, observed: Observed) -> Wish:
        from ec2ident_agent.engine import Wish
        from ec2ident_agent.profile import overlay_items
        from ec2ident_agent.state.journal import COMMAND

        config = run.configuration()
        overlay = run.which(run.options.arguments[1], config, adding=True)
        run.device(overlay.device, observed)
        profiles = run.profiles(config, overlay.via or overlay.device, observed)
        return Wish(overlay.owner, overlay_items(overlay, profiles, observed), COMMAND)

    def plan(self, address: str, device: str = "", label: str = "") -> tuple[Step, ...]:
        """The steps to hold an overlay address; none when it is held. Raises AgentError."""
        from ec2ident_agent.engine import status

        run = self._overlay(address, device, label)
        observed = run.kernel().observe()
        report = status([self._wish(run, observed)], observed, run.journal.read(), everything=False)
        return tuple(report.difference.steps)

    def hold(self, address: str, device: str = "", label: str = "") -> tuple[Step, ...]:
        """Hold it until `release` or a reboot. Returns what had to be done. Raises AgentError."""
        from ec2ident_agent.engine import apply
        from ec2ident_agent.state import suppressed

        run = self._overlay(address, device, label)
        with run.journal.lock(run.patience()):
            kernel = run.kernel()
            suppressed.drop(run.journal, {f"overlay {address}"})
            report = apply([self._wish(run, kernel.observe())], kernel, run.journal, self.log, everything=False)
        return tuple(report.difference.steps)

    def release(self, *addresses: str, wait: float | None = None) -> tuple[Step, ...]:
        """Let go of them: exactly what was laid for them. Raises AgentError with all that could not be taken off.

        With `wait`, after so many seconds without the lock too: who holds it for so long hangs, and struck out of the
        journal the addresses are not laid again by whoever comes after him.
        """
        from contextlib import ExitStack

        from ec2ident_agent.engine import revert
        from ec2ident_agent.errors import LockedError
        from ec2ident_agent.state import suppressed

        run, owners = self._wanted("overlay", "del"), {f"overlay {each}" for each in addresses}
        with ExitStack() as stack:
            try:
                stack.enter_context(run.journal.lock(run.patience() if wait is None else wait))
            except LockedError as error:
                if wait is None:
                    raise
                self.log(f"{error}: going on without")
            suppressed.add(run.journal, run.journal.read(), run.kernel().observe(), owners)
            return tuple(revert(owners, run.kernel(), run.journal, self.log))

    def holds(self, address: str) -> bool:
        """Is the address on any interface of this node? One dump of the kernel, no more."""
        from ec2ident_agent.items import Address

        seen = self._wanted("overlay", "add", address).kernel().observe().seen
        return any(isinstance(each.item, Address) and each.item.address == address for each in seen)

    def device(self, mac: str, deadline: Deadline) -> str:
        """The name of the interface with this MAC address, as soon as the kernel shows it. Raises OutOfTimeError."""
        while True:
            link = self._wanted("status").kernel().observe().device_of(mac)
            if link:
                return link.name
            try:
                deadline.pause(LOOK_EVERY, f"interface {mac}: attached, but the kernel does not show it")
            except OutOfTimeError as error:
                raise OutOfTimeError(f"{error}; ec2ident-agent apply lays its profile when it is there") from None

    def shows(self, mac: str) -> bool:
        """Is an interface with this MAC address on this node? One dump of the links. Raises UnknownError."""
        from ec2ident_agent.kernel.dump import Channel, links

        channel = Channel()
        try:
            return any(link.mac == mac for link in links(channel))
        finally:
            channel.close()

    def apply(self, device: str) -> int:
        """Lay the profile of an interface as the agent's configuration says; returns the agent's exit code."""
        from contextlib import redirect_stdout

        from ec2ident_agent.cli import Run, read

        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            return Run(read(["apply", device, *self.options])).run()
