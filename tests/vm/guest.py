"""Runs in the virtual machine what it is told over the second serial port, one JSON line each way.

It is the first process, in a machine that has nothing but the initial RAM disk, or a service of systemd's. Standard
library alone, as root.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import tty

NOBODY = 65534


def mount(kind: str, where: str) -> None:
    os.makedirs(where, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None) and ctypes.get_errno() != 16:
        raise OSError(ctypes.get_errno(), f"mount {kind}")


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def run(argv: list[str], user: str) -> dict[str, object]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8"}
    drop = become_nobody if user == "nobody" else None
    try:
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, preexec_fn=drop, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return {"exit": 127, "stdout": "", "stderr": str(error)}
    return {"exit": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def main() -> None:
    if os.getpid() == 1:
        for kind, where in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")):
            mount(kind, where)
        os.chmod("/tmp", 0o1777)
    line = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    with os.fdopen(line, "r+b", buffering=0) as port:
        port.write(b'{"ready": true}\n')
        asked = b""
        while True:
            asked += port.read(4096)
            while b"\n" in asked:
                request, _, asked = asked.partition(b"\n")
                answer = json.dumps(run(**json.loads(request))).encode() + b"\n"
                while answer:
                    answer = answer[port.write(answer) :]


main()
