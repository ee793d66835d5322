"""Table names: a kernel together with the names of its routing tables.

iproute2 reads `rt_tables` and every `rt_tables.d/*.conf` beside it (ip-route(8)). We write one file of our own and
never another; if another file gives a table the same name, that is good enough. Where the directory cannot be
written (an ordinary user, a read-only system, a full disk) names are omitted with a warning: routing does not need
them.
"""

from __future__ import annotations

import os

from ec2ident_agent.items import NAMES_FILE, OURS, Observed, Seen, TableName
from ec2ident_agent.state import statefile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ec2ident_agent.items import Link, Step

    from .protocol import Decision, Failure, Kernel, Query

DIRECTORY = "/etc/iproute2/rt_tables.d"
#: Where distributions keep their names; iproute2 was built with the first two, over the years.
SYSTEM = ("/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2")
#: Tag of names in other files: any number but OURS.
FOREIGN = 0


class NamedKernel:
    """A kernel and the files with its tables' names; itself a `Kernel`."""

    def __init__(self, kernel: Kernel, directory: str = DIRECTORY, system: Sequence[str] = SYSTEM) -> None:
        self.kernel = kernel
        self.directory = os.path.abspath(directory)
        self.path = os.path.join(self.directory, NAMES_FILE)
        self.system = system
        #: Why a name could not be written. Then no name is tried again: they are omitted.
        self.refused = ""
        #: The names in our file as of the last look, and as changed since.
        self._ours: list[TableName] | None = None

    def writable(self) -> bool:
        """True if a name could be written here. Nothing is written to find out."""
        where = self.directory
        while not os.path.isdir(where) and where != os.path.dirname(where):
            where = os.path.dirname(where)
        return os.access(where, os.W_OK | os.X_OK)

    def observe(self, tables: Collection[int] = ()) -> Observed:
        """What the kernel shows, and every table name. Raises UnknownError."""
        seen = self.kernel.observe(tables)
        names = self.names()
        return Observed(seen.links, (*seen.seen, *names), self.writable() and not self.refused, seen.tables)

    def observe_links(self) -> tuple[Link, ...]:
        """The links alone. Raises UnknownError."""
        return self.kernel.observe_links()

    def routers(self, device: str, *, seek: bool) -> tuple[str, ...]:
        """As the kernel below."""
        return self.kernel.routers(device, seek=seek)

    def lookup(self, queries: Sequence[Query]) -> list[Decision]:
        """The kernel's own routing decision for each packet. Raises UnknownError."""
        return self.kernel.lookup(queries)

    def close(self) -> None:
        """Close the kernel's socket."""
        self.kernel.close()

    def names(self) -> list[Seen]:
        """Every name that a table has; the ones in our file carry our number."""
        self._ours = _names(self.path)
        directories = dict.fromkeys((self.directory, *(os.path.join(base, "rt_tables.d") for base in self.system)))
        files = [os.path.join(base, "rt_tables") for base in self.system]
        for directory in directories:
            files += [os.path.join(directory, name) for name in _listing(directory) if name.endswith(".conf")]
        foreign = (Seen(item, FOREIGN) for path in files if path != self.path for item in _names(path))
        return [*(Seen(item, OURS) for item in self._ours), *foreign]

    def do(self, steps: Sequence[Step]) -> list[Failure]:
        """Write names to our file and send everything else to the kernel, in order."""
        failures: list[Failure] = []
        start = 0
        for position, step in enumerate(steps):
            if isinstance(step.item, TableName):
                failures += self._pass(steps[start:position])
                failures += self._name(step)
                start = position + 1
        return failures + self._pass(steps[start:])

    def _pass(self, steps: Sequence[Step]) -> list[Failure]:
        return self.kernel.do(steps) if steps else []

    def _name(self, step: Step) -> list[Failure]:
        assert isinstance(step.item, TableName)
        there = _names(self.path) if self._ours is None else self._ours
        names = [item for item in there if item != step.item]
        if step.verb == "add":
            names.append(step.item)
        try:
            if not names or names != there:
                self._write(names)
            self._ours = names
        except OSError as failed:
            why = failed.strerror or str(failed)
            if step.verb == "del":
                from .protocol import Failure

                return [Failure(step, failed.errno or 5, why)]
            self.refused = f"{self.path}: {why}"
        return []

    def _write(self, names: list[TableName]) -> None:
        if names:
            statefile.make_directory(self.directory)
            lines = "".join(f"{item.number}\t{item.name}\n" for item in names)
            statefile.write(
                self.path,
                f"# Written by ec2ident-agent; ec2ident-agent revert --all removes it.\n{lines}".encode("ascii"),
            )
            return
        for path in (f"{self.path}.new", self.path):
            if os.path.exists(path):
                os.unlink(path)


def _listing(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _names(path: str) -> list[TableName]:
    """The lines of one file; a file that is missing, unreadable or odd has none that we could use."""
    try:
        data = statefile.read(path)
    except (OSError, statefile.DamagedError):
        return []
    found = []
    for line in (data or b"").decode("utf-8", "replace").splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2:
            try:
                found.append(TableName(_number(words[0]), words[1]))
            except ValueError:
                continue
    return found


def _number(text: str) -> int:
    """As iproute2 reads it (rtnl_tab_initialize): 100, or 0x64. Raises ValueError."""
    digits = text[2:] if text.startswith("0x") else text
    if not (digits.isascii() and digits.isalnum()):
        raise ValueError(text)
    return int(digits, 10 if digits is text else 16)
