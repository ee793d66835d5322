"""A machine of its own for a daemon: files, processes and /run of a namespace's inhabitants, away from the host's.

The file system is the host's, with unpacked packages mounted over it, and every change to /etc, /usr and /var stays in
memory: a configuration written inside, or a hook that an installer adds there, is seen inside and nowhere else.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path, PurePosixPath

from .modes import umask
from .namespace import LabError, Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

#: The first process inside. It tells its number outside, mounts, says so, and lives as long as its standard input:
#: when this Python ends, however it ends, the pipe closes, and the kernel ends every process in the process namespace.
_INIT = """
set -eu
read -r outside _ </proc/self/stat
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/network /run/changes
cd /run/changes
for top in etc usr var; do
    mkdir $top $top.work
    mount -t overlay -o "lowerdir=${1:+$1/$top:}/$top,upperdir=$PWD/$top,workdir=$PWD/$top.work" overlay /$top
done
cd /
# With a /sys that cannot be written, daemons do not wait for udev, which would never come.
mount -o remount,ro,bind /sys
echo "$outside"
read -r _ || :
"""

#: What programs inside get: nothing of the environment of the tests.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
}
#: A machine's own, whatever that of the tests is: a daemon with another user reads the files of others.
UMASK = 0o022


class Enclosure:
    """Private files and processes inside a network namespace, while the `with` block lasts.

    `tree` is mounted over this machine's files.
    """

    def __init__(self, namespace: Namespace, tree: Path | None = None) -> None:
        self.namespace = namespace
        self._tree = tree
        self._init: subprocess.Popen[str] | None = None
        self._pid = 0
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Enclosure:
        alone = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-c"]
        command = [*alone, _INIT, "sh", str(self._tree or "")]
        self._init = self.namespace.start(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            umask=UMASK,
        )
        assert self._init.stdout
        pid = self._init.stdout.readline().strip()
        if not pid:
            _, said = self._init.communicate(timeout=10)
            raise LabError(f"enclosure in {self.namespace.name}: {said.strip()}")
        self._pid = int(pid)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every process inside; the mounts go with them. Twice is fine."""
        if self._init is not None:
            self._init.communicate(timeout=10)
            self._init = None
        for process in self._started:
            process.wait(timeout=10)
            if process.stdout:
                process.stdout.close()
        self._started = []

    def command(self, *argv: str) -> list[str]:
        """The command line that runs argv inside."""
        # Without --root, the root of the mount namespace becomes the root directory: in a chroot, that is the host's.
        places = ["--root", "--wd", "--mount", "--pid", "--uts", "--ipc", "--net"]
        return ["nsenter", f"--target={self._pid}", *places, *argv]

    def run(self, *argv: str, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program inside and wait; never raises for its exit code. Options are those of `subprocess.run`."""
        usual = {"env": ENVIRONMENT, "umask": UMASK, "capture_output": True, "text": True, "timeout": timeout}
        return subprocess.run(self.command(*argv), **{**usual, **options})

    def read(self, *argv: str) -> str:
        """The output of a program that must succeed. Raises LabError with what it said."""
        done = self.run(*argv)
        if done.returncode:
            raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self, *argv: str, log: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a daemon inside, in the foreground, with all that it says in a file inside (`/run/NAME.log`)."""
        with self.path(f"/run/{log}.log").open("a", encoding="utf-8") as output:
            process = subprocess.Popen(
                self.command(*argv),
                env={**ENVIRONMENT, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                umask=UMASK,
            )
        self._started.append(process)
        return process

    def stop(self, process: subprocess.Popen[str], patience: float = 10) -> None:
        """Ask a daemon to end, as a service manager does, and kill it when it does not. Twice is fine."""
        # The process is nsenter, which runs the daemon as its child and passes no signal on.
        for child in _children(process.pid):
            os.kill(child, 15)
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            for child in _children(process.pid):
                os.kill(child, 9)
            process.wait(timeout=patience)

    # Files, by their path inside

    def path(self, inside: str) -> Path:
        """Where this process finds a file of the inside. Links are followed as inside, so they never lead out of it.

        Raises LabError where links go round in a circle.
        """
        found, left = PurePosixPath("/"), list(reversed(PurePosixPath("/", inside).parts))
        for _ in range(256):
            if not left:
                return self._outside(found)
            part = left.pop()
            if part == "/":
                found = PurePosixPath("/")
            elif part == "..":
                found = found.parent
            elif (link := self._outside(found / part)).is_symlink():
                left += reversed(PurePosixPath(os.readlink(link)).parts)
            else:
                found /= part
        raise LabError(f"{inside}: too many links")

    def _outside(self, inside: PurePosixPath) -> Path:
        return Path(f"/proc/{self._pid}/root{inside}")

    def make_directories(self, *inside: str) -> None:
        """Make directories inside, with those on the way; those that are there are left as they are."""
        for each in inside:
            with umask(UMASK):
                self.path(each).mkdir(mode=0o755, parents=True, exist_ok=True)

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside; directories that lack are made."""
        path = self.path(inside)
        with umask(UMASK):
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def text(self, inside: str) -> str:
        """What a file inside holds; nothing while it is not there."""
        path = self.path(inside)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def wait_until(true: Callable[[], object], what: str, patience: float = 20) -> None:
    """Look until something is so. Raises LabError that names it."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise LabError(f"after {patience} s still not so: {what}")
        time.sleep(0.05)
