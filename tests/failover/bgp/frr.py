"""FRR's daemons on one machine of the lab, from Debian's package, and what they say of themselves as JSON."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from tests.lab.enclosure import wait_until
from tests.lab.namespace import LabError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.lab.enclosure import Enclosure

#: In the order in which they start: the others are clients of zebra, which also passes BFD's words to bgpd.
DAEMONS = ("zebra", "bfdd", "bgpd")
CONFIGURATION = "/etc/frr/frr.conf"

#: What the package's scripts do when it is installed; an unpacked package has neither users nor a state directory.
PREPARE = """
set -eu
getent group frr >/dev/null || echo frr:x:991: >>/etc/group
getent group frrvty >/dev/null || echo frrvty:x:992:frr >>/etc/group
getent passwd frr >/dev/null || echo frr:x:991:991::/nonexistent:/usr/sbin/nologin >>/etc/passwd
mkdir -p /run/frr /var/log/frr
chown frr:frr /run/frr /var/log/frr /etc/frr
chown frr:frr /etc/frr/*
chown frr:frrvty /etc/frr/vtysh.conf
chmod 640 /etc/frr/*
"""

#: A daemon ends each answer with three zero bytes and the command's status (`vtysh.c`, `vty.c` of FRR).
END, SUCCESS, WARNING = b"\0\0\0", 0, 1


class Frr:
    """The daemons of one enclosure. Its tree has the package `frr`."""

    def __init__(self, inside: Enclosure) -> None:
        self.inside = inside

    def start(self, configuration: str = "") -> None:
        """Start the daemons that do not run, and wait; with a configuration for all, or with the one that is there."""
        self.inside.read("sh", "-c", PREPARE)
        if configuration:
            self.inside.write(CONFIGURATION, configuration, 0o640)
            self.inside.read("chown", "frr:frr", CONFIGURATION)
        for name in DAEMONS:
            if self._pids(name):
                continue
            self._socket(name).unlink(missing_ok=True)
            # Other tests on this machine must not keep BFD from its packets for the 0.9 s after which it gives up.
            self.inside.start("nice", "-n", "-15", f"/usr/lib/frr/{name}", "-A", "127.0.0.1", log=name)
            wait_until(lambda name=name: self.runs(name), f"{name} is up")  # type: ignore[misc]
            # As watchfrr does: a daemon starts empty, and vtysh tells it its part of the configuration.
            self.inside.read("vtysh", "-b", "-d", name)

    def runs(self, name: str) -> bool:
        """Whether a daemon answers."""
        try:
            self.say(name, "show version")
        except OSError:
            return False
        return True

    def send(self, number: int, *names: str) -> None:
        """Send daemons a signal; without names all of them, the clients of zebra first."""
        for name in names or DAEMONS[::-1]:
            for pid in self._pids(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def end(self, *names: str, how: int = signal.SIGKILL) -> None:
        """End daemons: by SIGTERM as an orderly stop does, or by SIGKILL as a crash does. Waits for the end."""
        self.send(how, *names)
        wait_until(lambda: not any(map(self._pids, names or DAEMONS)), f"{names or DAEMONS} ended")

    def _pids(self, name: str) -> list[int]:
        found = []
        for pid in self.inside.namespace.pids():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(f"/usr/lib/frr/{name}\0".encode()):
                    found.append(pid)
        return found

    def _socket(self, name: str) -> Path:
        return self.inside.path(f"/run/frr/{name}.vty")

    def say(self, name: str, *commands: str) -> list[str]:
        """Ask a daemon as vtysh asks it: by its socket, and with the same words. A process for each would be slow.

        Raises OSError if the daemon is not there, and LabError for a command that it refuses.
        """
        answers = []
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            one.connect(str(self._socket(name)))
            for command in commands:
                one.sendall(command.encode() + b"\0")
                answers.append(_answer(one, command))
        return answers

    def ask(self, name: str, *commands: str) -> list[Any]:
        """The same for commands that answer in JSON; nothing said is an empty object."""
        return [json.loads(text or "{}") for text in self.say(name, *commands)]

    def configure(self, *lines: str) -> None:
        """Change the running configuration by vtysh, as a person or a program does. Raises LabError."""
        words = [word for line in ("configure terminal", *lines) for word in ("-c", line)]
        self.inside.read("vtysh", *words)


def _answer(one: socket.socket, command: str) -> str:
    said = b""
    while said[-4:-1] != END:
        more = one.recv(65536)
        if not more:
            raise ConnectionResetError(f"{command}: the daemon went away")
        said += more
    if said[-1] not in (SUCCESS, WARNING):
        raise LabError(f"{command}: {said[:-4].decode()}")
    return said[:-4].decode()
