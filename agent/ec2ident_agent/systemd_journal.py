"""Lines for people with fields for programs: to systemd's journal where it listens, else to standard error.

The journal listens if JOURNAL_STREAM names the file that standard error is (systemd.exec(5)); a program that was
started with another standard error inherits the variable, and then it counts for nothing. An entry is one datagram in
the journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL), which `journalctl EC2IDENT_OWNER=eth1`
finds. A datagram that the journal does not take goes to standard error, with the priority in front (sd-daemon(3)).
"""

from __future__ import annotations

import os

from ec2ident.program.frame import log, safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
#: Priorities of syslog(3).
ERROR, NOTICE, INFO = 3, 5, 6


class SystemdJournal:
    """The log of one program. Nothing here raises or waits."""

    def __init__(self, program: str, environ: Mapping[str, str], path: str = "") -> None:
        self.program, self.path = program, path or SOCKET
        #: Whether systemd's journal reads standard error.
        self.listens = _is_standard_error(environ.get("JOURNAL_STREAM", ""))

    def log(self, text: str, priority: int = INFO, fields: Mapping[str, str] | None = None) -> None:
        """One line or more for people. Fields without a value are not sent."""
        if not self.listens:
            log(text)
        elif not send(self.path, self.program, text, priority, fields or {}):
            log("\n".join(f"<{priority}>{line}" for line in text.split("\n")))


def send(path: str, program: str, text: str, priority: int, fields: Mapping[str, str]) -> bool:
    """Send one entry, without waiting. Returns whether the journal took it. EC2IDENT_ is put before `fields`."""
    from _socket import AF_UNIX, SOCK_DGRAM, socket

    given = {f"EC2IDENT_{name.upper()}": value for name, value in fields.items() if value}
    data = datagram({"MESSAGE": text, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": program, **given})
    try:
        journal = socket(AF_UNIX, SOCK_DGRAM, 0)
        try:
            journal.setblocking(False)
            journal.sendto(data, path)
        finally:
            journal.close()
    except OSError:
        return False
    return True


def datagram(fields: Mapping[str, str]) -> bytes:
    """The entry in the journal's native protocol: a value with a newline has its length in front. Pure."""
    data = b""
    for name, value in fields.items():
        text = safe(value).encode()
        if b"\n" in text:
            data += name.encode("ascii") + b"\n" + len(text).to_bytes(8, "little") + text + b"\n"
        else:
            data += name.encode("ascii") + b"=" + text + b"\n"
    return data


def _is_standard_error(stream: str) -> bool:
    """Whether "DEVICE:INODE" is the file of standard error."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
