"""Telling systemd the state of a service: sd_notify(3), one datagram a message; without systemd none is sent."""

from __future__ import annotations

import os

#: Send timeout in seconds: at boot systemd's socket may be full, and a READY that is lost is a failed start.
PATIENCE = 1.0

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Supervisor:
    """systemd, as the environment names its socket. Nothing here raises: a message that cannot be sent is lost."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.path = environ.get("NOTIFY_SOCKET", "")
        #: Seconds between two signs of life: half of what systemd allows (sd_watchdog_enabled(3)); 0 for none.
        self.interval = 0.0
        allowed, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        if allowed.isascii() and allowed.isdigit() and process in ("", str(os.getpid())):
            self.interval = int(allowed) / 2e6
        self._status = ""

    def ready(self) -> None:
        """Tell systemd that the service has started (sd_notify(3))."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed systemd's watchdog (WatchdogSec= in systemd.service(5))."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Tell systemd that the service is ending."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it changes."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + " ".join(text.split()))

    def _send(self, message: str) -> None:
        if not self.path:
            return
        from _socket import AF_UNIX, SOCK_DGRAM, socket

        address = "\0" + self.path[1:] if self.path.startswith("@") else self.path
        try:
            with_supervisor = socket(AF_UNIX, SOCK_DGRAM, 0)
            try:
                with_supervisor.settimeout(PATIENCE)
                with_supervisor.sendto(message.encode("utf-8", "backslashreplace"), address)
            finally:
                with_supervisor.close()
        except OSError:
            return
