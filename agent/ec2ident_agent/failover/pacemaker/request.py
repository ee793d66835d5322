"""What the cluster engine asks an agent for: its environment, read once. Pure."""

from __future__ import annotations

from ec2ident.value import Value

from .parameters import given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Seconds for an action if the engine does not say.
TIMEOUT = 20.0

#: The longest reason that is shown, in characters; the engine cuts longer ones.
REASON = 128


class OcfRequest(Value):
    """One action of one agent, with its parameters."""

    kind: str
    action: str
    values: Mapping[str, str]
    #: Seconds that the engine waits.
    timeout: float
    probe: bool
    deep: bool
    instance: str
    prefix: str
    #: The agent's configuration, if it was installed with a path of its own.
    config: str = ""

    @property
    def deadline(self) -> float:
        """Seconds after which the action gives up; the rest of the time is for saying so."""
        return max(0.2, min(self.timeout * 0.8, self.timeout - 0.5))

    @property
    def state_dir(self) -> str:
        """The directory of the agent's run state."""
        return self.values["state_dir"]

    def reason(self, error: object) -> str:
        """One line that the engine shows. For a denied call it says what to allow: the service's text is too long."""
        cause = getattr(error, "__cause__", None) or error
        line = " ".join(str(getattr(cause, "brief", cause)).split())
        return f"{self.prefix}{line}"[: len(self.prefix) + REASON]


def read(kind: str, action: str, environ: Mapping[str, str], installed: Sequence[str] = ()) -> OcfRequest:
    """Read the environment; a number that is malformed counts as missing.

    `installed` are the options that ec2ident-agent was installed with: with another state directory the agent would
    know nothing of the addresses that are held here.
    """

    def number(name: str) -> int:
        text = environ.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0

    files = dict(zip(installed[::2], installed[1::2]))
    state = {"OCF_RESKEY_state_dir": files["--state-dir"]} if "--state-dir" in files else {}
    return OcfRequest(
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
