"""Run the calling script where it may make network namespaces, and where nothing of them can stay behind.

Root or not, the script is started again in a mount and network namespace of its own, an ordinary user's also in a user
namespace as root. The names of the namespaces that it makes are on a private /run, so they vanish with
the last process, even after SIGKILL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_MARK = "EC2IDENT_LAB_ISOLATED"

#: `ip netns` keeps names in /run/netns and makes that directory itself. The names of routing tables are files that the
#: agent writes: they are a copy here, which also an ordinary user may write.
_PRIVATE = """
mount -t tmpfs -o mode=755 tmpfs /run
if [ -d /etc/iproute2 ]; then cp -R /etc/iproute2 /run/iproute2 && mount --bind /run/iproute2 /etc/iproute2; fi
exec "$@"
"""


def isolate() -> None:
    """Return inside the isolated process; outside of it, never return.

    Raises SystemExit with what to do when the kernel or a container's policy forbids it.
    """
    if os.environ.get(_MARK):
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "--mount", "sh", "-ec", _PRIVATE, "sh"]
    _try([*command, "ip", "netns", "add", "try"])
    os.environ[_MARK] = "1"
    os.execvp(command[0], [*command, sys.executable, *_arguments()])


def _arguments() -> list[str]:
    """What this interpreter was started with, options such as -m included. (`sys.orig_argv` is from Python 3.10 on.)"""
    return [os.fsdecode(word) for word in Path("/proc/self/cmdline").read_bytes().split(b"\0")[1:-1]]


def _try(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename}: not found: install util-linux and iproute2") from error
    if "ip: not found" in done.stderr:
        raise SystemExit("ip: not found: install iproute2")
    if done.returncode:
        raise SystemExit(
            f"cannot make network namespaces here: {done.stderr.strip()}\n"
            "Run it as root, or allow user namespaces: sysctl user.max_user_namespaces (not 0),"
            " kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu);"
            " in a container, start that with CAP_SYS_ADMIN."
        )
