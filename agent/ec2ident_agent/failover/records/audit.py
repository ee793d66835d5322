"""One line for each action that moves something: who moved what, when, and how long it took.

It goes to the system's log (`journalctl -t ec2ident-failover`), with fields where that is systemd's journal
(`journalctl EC2IDENT_SERVICE=db`), and to `/run/ec2ident/failover/audit.log`; the last one of each service is
remembered for the metrics. None of these may fail or delay the action. Then the administrator's command runs.
"""

from __future__ import annotations

import os
import time

from ec2ident.program import exit_codes
from ec2ident_agent.systemd_journal import ERROR, NOTICE, SOCKET, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from ec2ident_agent.failover.parts.part import Finding

    from .on_move import MoveCommand

#: The longest line, and the size at which the file becomes `audit.log.1`; in bytes.
LINE, FILE = 2000, 256 << 10

#: The facility "daemon" and the severity "notice" (RFC 5424, section 6.2.1).
_PRIORITY = 3 * 8 + 5


class Audit:
    """One action, as a context manager: the line is written when it ends, with its exit code or its error's."""

    def __init__(
        self,
        verb: str,
        service: str,
        *,
        state_dir: str,
        root: str = "/",
        environ: Mapping[str, str] | None = None,
        on_move: MoveCommand | None = None,
    ) -> None:
        self.verb, self.service, self.instance = verb, service, ""
        self._state_dir, self._on_move = state_dir, on_move
        self._journal = os.path.join(root, SOCKET.lstrip("/"))
        self._path, self._log = os.path.join(state_dir, "failover", "audit.log"), os.path.join(root, "dev/log")
        self._environ = os.environ if environ is None else environ
        self._began = time.monotonic()
        self.findings: Sequence[Finding] = ()
        self.exit = 0

    def __enter__(self) -> Audit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            self.exit = getattr(error, "exit", 70)
        took = time.monotonic() - self._began
        fields = self.fields(took, str(error) if error else "")
        line = _line(fields)
        priority = NOTICE if self.exit <= exit_codes.NO else ERROR
        if not send(self._journal, "ec2ident-failover", line, priority, fields):
            _send(self._log, line)
        _append(self._path, line)
        if self.service:
            from .moves import LastMove, remember

            remember(self._state_dir, self.service, LastMove(fields["verb"], time.time(), took, self.exit))
        if self._on_move:
            self._on_move.run(fields)

    def fields(self, seconds: float, error: str = "") -> dict[str, str]:
        """What there is to say of the action; the last one is free text."""
        said = "; ".join(
            [*(each.text for each in self.findings if each.value is not None), *([error] if error else [])]
        )
        return {
            "verb": self.verb.replace(" ", "-"),
            "service": self.service or "-",
            "instance": self.instance or "-",
            "exit": str(self.exit),
            "seconds": f"{seconds:.2f}",
            **_who(self._environ),
            "what": said or "nothing to do",
        }


def _line(fields: Mapping[str, str]) -> str:
    """Pairs of a name and a value, as one line that is not too long."""
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    return (
        "".join(c if c.isprintable() else " " for c in text).encode("utf-8", "replace")[:LINE].decode("utf-8", "ignore")
    )


def _who(environ: Mapping[str, str]) -> dict[str, str]:
    """The user, the user before sudo, and the parent process: a shell, Pacemaker's executor, keepalived's script."""
    parent = os.getppid()
    try:
        with open(f"/proc/{parent}/comm", encoding="utf-8", errors="replace") as file:
            name = "".join(file.read(32).split())
    except OSError:
        name = "?"
    sudo = "".join(environ.get("SUDO_USER", "").split())
    return {"uid": str(os.getuid()), **({"sudo": sudo[:32]} if sudo else {}), "parent": f"{name}[{parent}]"}


def _send(path: str, line: str) -> None:
    """To the system's log, without waiting: a log that hangs must not hold the service."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as log:
            log.connect(path)
            log.send(f"<{_PRIORITY}>ec2ident-failover[{os.getpid()}]: {line}".encode())
    except OSError:
        return


def _append(path: str, line: str) -> None:
    from ec2ident_agent.state import statefile

    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        statefile.make_directory(os.path.dirname(path))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(path, flags, 0o644)
        try:
            statefile.check_regular(os.fstat(handle))
            os.write(handle, f"{moment} {line}\n".encode())
            full = os.fstat(handle).st_size > FILE
        finally:
            os.close(handle)
        if full:
            os.replace(path, f"{path}.1")
    except (OSError, ValueError):
        return
