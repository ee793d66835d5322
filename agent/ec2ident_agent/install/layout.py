"""What is installed on a node, and where: one table, made concrete for the managers that the node has.

`ROWS` is the table. To install one more thing, add a row and a file in data/.
"""

from __future__ import annotations

import os
import shlex

from ec2ident.value import Value
from ec2ident_agent.errors import ConfigError
from ec2ident_agent.hook import PATIENCE
from ec2ident_agent.inet import is_device_name

from .rootfs import Directory, File, Symlink
from .run_state import CACHES, DIRECTORIES, LOCKS
from .trust import interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from .rootfs import Inode, RootFs

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")

HOME = "/etc/ec2ident"
HOOK = f"{HOME}/hook"
CONFIG = f"{HOME}/agent.toml"
STATE = "/run/ec2ident"

#: The name of every drop-in that `doctor --fix` writes, in any directory. An install does not change them.
FIX = "90-ec2ident-doctor.conf"

#: FRR's configuration, which `ec2ident-failover bgp --install` writes. An install does not change it.
FRR = "/etc/frr/frr.conf"


class Row(Value):
    """One thing to install: a file made from data/`source`, a link to `target`, or else a directory."""

    path: str
    source: str = ""
    target: str = ""
    mode: int = 0o755
    #: Installed only where nothing is, without a message: the administrator is expected to write this file.
    sample: bool = False
    #: What to do by hand when a foreign file is in the way.
    instead: str = ""


class Manager(Value):
    """Something on a node that calls hooks or reads files: there when one of `marks` is; without marks, on request."""

    marks: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    #: What the administrator should know or do; not said where the manager `unless` is there too.
    note: str = ""
    unless: str = ""


_DISPATCHER = "/etc/NetworkManager/dispatcher.d/90-ec2ident"
_LOCAL = f'add the line  [ ! -x {HOOK} ] || {HOOK} network-scripts "$1" '
_OCF = "/usr/lib/ocf/resource.d/ec2ident"
_UNITS = "/etc/systemd/system"
#: Links here start a unit at boot: `systemctl enable` and `disable`.
WANTS = f"{_UNITS}/multi-user.target.wants"
_SUSE = "/etc/sysconfig/network"

#: Everything that is installed, by what must be there. {interface}: one row for each configured interface.
ROWS: Mapping[str, Manager] = {
    "always": Manager(
        ("/etc",),
        (
            Row(HOOK, "hook"),
            # For a node on which the program has gone first.
            Row(f"{HOME}/uninstall", "uninstall"),
            Row(CONFIG, "agent.toml", mode=0o644, sample=True),
            # Never rt_protos or rt_tables themselves: in /etc they would hide the distribution's.
            Row("/etc/iproute2/rt_protos.d/ec2ident.conf", "rt_protos.conf", mode=0o644),
            # Where apply names its tables; a unit with a read-only system can write here, but not make it.
            Row("/etc/iproute2/rt_tables.d"),
        ),
    ),
    "ifupdown": Manager(
        ("/etc/network/if-up.d", "/etc/network/interfaces", "/sbin/ifquery"),
        # run-parts passes over names with a dot.
        (
            Row("/etc/network/if-up.d/ec2ident", "ifupdown"),
            Row("/etc/network/if-down.d/ec2ident", "ifupdown"),
            Row("/etc/network/if-post-down.d/ec2ident", "ifupdown"),
        ),
    ),
    "networkmanager": Manager(
        ("/etc/NetworkManager", "/usr/lib/NetworkManager", "/usr/sbin/NetworkManager"),
        # NetworkManager runs only regular files of root that no other user can write.
        (
            Row(_DISPATCHER, "networkmanager"),
            Row("/etc/NetworkManager/dispatcher.d/pre-down.d/90-ec2ident", "networkmanager"),
        ),
    ),
    "networkd-dispatcher": Manager(
        ("/etc/networkd-dispatcher", "/usr/lib/networkd-dispatcher", "/usr/bin/networkd-dispatcher"),
        # The directory too must be root's with mode 0755 exactly.
        tuple(
            Row(f"/etc/networkd-dispatcher/{state}.d/90-ec2ident", "networkd-dispatcher")
            for state in ("routable", "configured", "off", "linger")
        ),
    ),
    "sysconfig": Manager(
        (f"{_SUSE}/scripts", f"{_SUSE}/if-up.d", "/usr/sbin/wicked", "/etc/wicked"),
        (
            Row(f"{_SUSE}/scripts/ec2ident.{{interface}}", "sysconfig"),
            Row(f"{_SUSE}/if-up.d/ec2ident.{{interface}}", target="../scripts/ec2ident.{interface}"),
            Row(f"{_SUSE}/if-down.d/ec2ident.{{interface}}", target="../scripts/ec2ident.{interface}"),
        ),
    ),
    "wicked": Manager(
        ("/usr/sbin/wicked", "/etc/wicked"),
        note=f"wicked calls only the scripts that an interface names: in {_SUSE}/ifcfg-{{interface}} set POST_UP_SCRIPT"
        ' and POST_DOWN_SCRIPT to "compat:suse:ec2ident.{interface}"',
    ),
    "network-scripts": Manager(
        ("/etc/sysconfig/network-scripts/ifup-post",),
        # One file each for the whole node, so the administrator may well have written it.
        (
            Row("/sbin/ifup-local", "ifup-local", instead=f"{_LOCAL}up"),
            Row("/sbin/ifdown-local", "ifup-local", instead=f"{_LOCAL}down"),
        ),
    ),
    "dhclient": Manager(
        ("/etc/dhcp/dhclient-exit-hooks.d",),
        # Read by a shell, not run.
        (Row("/etc/dhcp/dhclient-exit-hooks.d/ec2ident", "dhclient", mode=0o644),),
    ),
    "systemd": Manager(
        ("/usr/lib/systemd/system", "/lib/systemd/system"),
        (
            Row(f"{_UNITS}/ec2ident-agent.service", "ec2ident-agent.service", mode=0o644),
            Row(f"{_UNITS}/ec2ident-agent-watch.service", "ec2ident-agent-watch.service", mode=0o644),
            Row(f"{WANTS}/ec2ident-agent.service", target=f"{_UNITS}/ec2ident-agent.service"),
            Row(f"{WANTS}/ec2ident-agent-watch.service", target=f"{_UNITS}/ec2ident-agent-watch.service"),
        ),
    ),
    "udev": Manager(
        ("/usr/bin/systemd-escape", "/bin/systemd-escape"),
        (
            Row(f"{_UNITS}/ec2ident-agent@.service", "ec2ident-agent@.service", mode=0o644),
            Row("/etc/udev/rules.d/90-ec2ident.rules", "udev.rules", mode=0o644),
        ),
    ),
    "networkd": Manager(
        (f"{WANTS}/systemd-networkd.service", "/etc/systemd/system/dbus-org.freedesktop.network1.service"),
        note="systemd-networkd calls no hooks without networkd-dispatcher: ec2ident-agent-watch.service repairs what it"
        " deletes",
        unless="networkd-dispatcher",
    ),
    # Only on request: install --ocf.
    "ocf": Manager(
        (),
        (
            *(Row(f"{_OCF}/{name}", f"ocf/{name}") for name in ("overlay", "bgp", "eni", "private", "eip", "dns")),
            Row(f"{HOME}/keepalived-notify", "keepalived/notify"),
        ),
    ),
}

#: The interface of the published recipe, where the configuration names none.
INTERFACES = ("eth1",)

#: Where a distribution's package has what `install` has in /etc: the places for packages that the managers name.
VENDOR: Mapping[str, str] = {
    HOME: "/usr/lib/ec2ident",
    CONFIG: CONFIG,
    _UNITS: "/usr/lib/systemd/system",
    "/etc/udev/rules.d": "/usr/lib/udev/rules.d",
    "/etc/NetworkManager/dispatcher.d": "/usr/lib/NetworkManager/dispatcher.d",
    "/etc/networkd-dispatcher": "/usr/lib/networkd-dispatcher",
}


def vendor_path(path: str) -> str:
    """Where a package has the file that `install` has at `path`; the same path where only /etc is read."""
    for ours in sorted(VENDOR, key=len, reverse=True):
        if path == ours or path.startswith(f"{ours}/"):
            return VENDOR[ours] + path[len(ours) :]
    return path


def is_packaged(tree: RootFs) -> bool:
    """Whether a distribution's package has put its hooks on this node."""
    return tree.exists(vendor_path(HOOK))


class InstallRequest(Value):
    """What to install: `program` is the agent's own path as the tree's system sees it; the rest has defaults."""

    program: str
    config: str = CONFIG
    state: str = STATE
    interfaces: tuple[str, ...] = INTERFACES
    #: Rows of `ROWS` to install besides those that are detected.
    extras: tuple[str, ...] = ()
    #: For a distribution's package: hooks call each other by the paths of `vendor_path`.
    packaged: bool = False

    def place(self, path: str) -> str:
        """Where the file is that `ROWS` has at `path`."""
        return vendor_path(path) if self.packaged else path


class Thing(Value):
    """A row made concrete: the file, link or directory that should be there."""

    path: str
    node: Inode
    row: Row | None = None


def detect(tree: RootFs, owned: Container[str] = ()) -> tuple[str, ...]:
    """Which network managers this node has: names of `ROWS`. Files that were installed by the agent do not count."""
    return tuple(
        name for name, manager in ROWS.items() if any(mark not in owned and tree.exists(mark) for mark in manager.marks)
    )


def wanted(tree: RootFs, managers: Sequence[str], request: InstallRequest, owned: Container[str]) -> list[Thing]:
    """Everything that should be there, each after the directories on its path that are missing or installed."""
    return list(_things(tree, _rows(managers, request), request, owned))


def _rows(managers: Sequence[str], request: InstallRequest) -> Iterator[Row]:
    for name in managers:
        for row in ROWS[name].rows:
            several = "{interface}" in row.path
            for interface in request.interfaces if several else ("",):
                name = f".{interface}" if interface else ""
                path, target = (request.place(text.replace(".{interface}", name)) for text in (row.path, row.target))
                yield Row(path, row.source, target, row.mode, row.sample, row.instead)


def _things(tree: RootFs, rows: Iterator[Row], request: InstallRequest, owned: Container[str]) -> Iterator[Thing]:
    """Each row, after the directories on its path that are missing or installed."""
    made = []
    for row in rows:
        if row.source:
            made.append(Thing(row.path, File(render(row.source, request, tree), row.mode), row))
        elif row.target:
            made.append(Thing(row.path, Symlink(row.target), row))
        elif row.path in owned or not tree.exists(row.path):
            made.append(Thing(row.path, Directory((), row.mode), row))
    return with_parents(tree, made, owned)


def with_parents(tree: RootFs, things: Sequence[Thing], owned: Container[str]) -> Iterator[Thing]:
    """Each thing, after the directories on its path that are missing or installed."""
    seen = set()
    for thing in things:
        parts = thing.path.split("/")
        for parent in ("/".join(parts[:count]) for count in range(2, len(parts))):
            if parent not in seen and (parent in owned or not tree.exists(parent)):
                seen.add(parent)
                yield Thing(parent, Directory((), 0o755))
        yield thing


def _words(options: Iterable[str]) -> str:
    return "".join(f" {shlex.quote(word)}" for word in options)


def render(source: str, request: InstallRequest, tree: RootFs) -> bytes:
    """A file of data/ with its @NAMES@ filled in, each quoted for who reads it."""
    import re

    options = [] if request.config == CONFIG else ["--config", request.config]
    options += [] if request.state == STATE else ["--state-dir", request.state]
    escapes = [path for path in ROWS["udev"].marks if tree.exists(path)] or [ROWS["udev"].marks[0]]
    # -I: no variable of the caller's and no directory of a user's decides what Python loads.
    python = interpreter(tree, request.program)
    values = {
        "HOOK": request.place(HOOK),
        "PATIENCE": str(PATIENCE),
        "PYTHON": shlex.quote(python) if python else "",
        "ISOLATED_UNIT": f"{_unit_word(python)} -I " if python else "",
        "DISPATCHER": request.place(_DISPATCHER),
        "ESCAPE": escapes[0],
        "PROGRAM": shlex.quote(request.program),
        "OCF": shlex.quote(os.path.join(os.path.dirname(request.program), "ec2ident-ocf")),
        "FAILOVER": shlex.quote(os.path.join(os.path.dirname(request.program), "ec2ident-failover")),
        "CONFIG": shlex.quote(request.config),
        "STATE": shlex.quote(request.state),
        "NAMES": " ".join(("journal", *CACHES, *LOCKS, *DIRECTORIES)),
        "OPTIONS": _words(options),
        "FAILOVER_OPTIONS": _words("--agent-config" if word == "--config" else word for word in options),
        # systemd takes the first word as it is; a later one is searched for variables.
        "PROGRAM_UNIT": _argument(request.program) if python else _unit_word(request.program),
        "OPTIONS_UNIT": "".join(f" {_argument(word)}" for word in options),
        "CONFIG_UNIT": request.config.replace("%", "%%"),
        "STATE_UNIT": "RuntimeDirectory=ec2ident\nRuntimeDirectoryPreserve=yes"
        if request.state == STATE
        # Made outside of the read-only system: a path that is not there would stay read-only.
        else f"ExecStartPre=+/bin/mkdir -p {_argument(request.state)}\nReadWritePaths=-{_unit_word(request.state)}",
    }

    def fill(text: str) -> str:
        # A path is the bytes of its file's name, whatever encoding the locale has.
        return re.sub(
            "@([A-Z_]+)@", lambda found: os.fsencode(values[found[1]]).decode("utf-8", "surrogateescape"), text
        )

    text = _data(source)
    if "@HARDENING@" in text:
        text = text.replace("@HARDENING@\n", _data("hardening"))
    return fill(text).encode("utf-8", "surrogateescape")


def is_beside(path: str) -> bool:
    """Whether another command than `install` writes this file, and names it in the manifest."""
    return path == FRR or path.endswith(f"/{FIX}")


def once_gone(path: str, content: bytes) -> list[str]:
    """The commands by which programs notice that a file of `is_beside` is gone; nothing for any other file."""
    if not is_beside(path):
        return []
    if path.startswith("/etc/sysctl.d/"):
        # The kernel keeps what it was told, and it was 0: where it was not, none is written.
        names = [line.partition(" =")[0] for line in content.decode().splitlines() if " = 1" in line]
        return [f"now run: sysctl -w {shlex.quote(f'{name}=0')}" for name in names]
    readers = {
        "/etc/systemd/networkd.conf.d/": "systemctl restart systemd-networkd",
        "/etc/systemd/network/": "networkctl reload",
        "/etc/systemd/system/": "systemctl daemon-reload",
        FRR: "systemctl restart frr",
    }
    return [f"now run: {run}" for directory, run in readers.items() if path.startswith(directory)]


def _data(name: str) -> str:
    with open(os.path.join(DATA, name), encoding="utf-8") as file:
        return file.read()


def _unit_word(word: str) -> str:
    """One word of a command line in a unit: systemd.syntax(7), systemd.unit(5) on specifiers."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return word if word.isascii() and not set(word) & set(" '\"\\;") else f'"{word}"'


def _argument(word: str) -> str:
    """A word that is not a program's name: systemd.service(5) on variables."""
    return _unit_word(word).replace("$", "$$")


def check(request: InstallRequest) -> None:
    """Raise ConfigError for what must not come into a script or a path."""
    for name, path in (("program", request.program), ("config", request.config), ("state-dir", request.state)):
        if not path.startswith("/") or not path.isprintable():
            raise ConfigError(f"--{name}: {path!r} is not an absolute path of printable characters")
    if set(request.program) & set("'\"\\"):
        # systemd refuses them in the name of a program, however quoted (config_parse_exec).
        raise ConfigError(f"--program: {request.program}: a unit cannot run a path with quotes or backslashes")
    for interface in request.interfaces:
        if not is_device_name(interface):
            raise ConfigError(f"interface {interface!r}: not a name that an interface can have")
    for extra in request.extras:
        if extra not in ROWS:
            raise ConfigError(f"--manager {extra}: unknown; known are {', '.join(ROWS)}")


def advice(tree: RootFs, managers: Sequence[str], request: InstallRequest) -> Iterator[str]:
    """What the administrator has to do by hand."""
    for name in managers:
        manager = ROWS[name]
        if manager.note and manager.unless not in managers:
            for interface in request.interfaces if "{interface}" in manager.note else ("",):
                yield manager.note.replace("{interface}", interface)
        if name == "networkd-dispatcher":
            yield from _not_trusted(tree, manager)
    published = _published(tree) if "sysconfig" in managers else []
    if published:
        yield (
            f"{' '.join(published)}: have the names of the published recipe's scripts and links, which do the same;"
            " ec2ident-agent adopt takes over what they have added; then move them away"
        )
    if not tree.exists(request.program):
        yield f"{request.program}: not there yet; until it is, the hooks do nothing"


#: How the published recipe names its scripts, before the interface, and where it links them.
RECIPE, RECIPE_LINKS = ("ifup.local.", "ifdown.local."), ("if-up.d", "if-down.d")


def _published(tree: RootFs) -> list[str]:
    """The scripts of the published recipe on SLES, for any interface, and the links to them under any name."""
    found = [f"{_SUSE}/scripts/{name}" for name in _names(tree, f"{_SUSE}/scripts") if name.startswith(RECIPE)]
    for directory in (f"{_SUSE}/{name}" for name in RECIPE_LINKS):
        for path in (f"{directory}/{name}" for name in _names(tree, directory)):
            here = tree.look(path)
            if isinstance(here, Symlink) and here.target.rpartition("/")[2].startswith(RECIPE):
                found.append(path)
    return found


def _names(tree: RootFs, directory: str) -> tuple[str, ...]:
    here = tree.look(f"{directory}/.") if tree.exists(directory) else None
    return here.names if isinstance(here, Directory) else ()


def _not_trusted(tree: RootFs, manager: Manager) -> Iterator[str]:
    for directory in dict.fromkeys(row.path.rpartition("/")[0] for row in manager.rows):
        here = tree.look(directory)
        if isinstance(here, Directory) and here.mode != 0o755:
            yield f"{directory}: mode {here.mode:04o}: networkd-dispatcher runs nothing in it; chmod 0755 {directory}"
