"""What a node's own files say: settings as their readers read them, units that start, programs that run.

`diagnosis` judges what is read here. All of it is read through a `RootFs`, so a directory that looks like a node is as
good as a node. A file that is missing or odd says nothing, as for its own reader. A file that this process may not read
is listed in `denied`: its content is unknown.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

from ec2ident.value import Value
from ec2ident_agent.install.rootfs import Directory, File, RootFs, Symlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ec2ident_agent.items import Link

    #: (section, key) -> its values in the order in which they were read.
    Settings = dict[tuple[str, str], list[str]]

#: Where systemd's programs look, first come first; a file hides those of the same name behind it (systemd.unit(5)).
SYSTEMD = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
NETWORK_MANAGER = ("/etc/NetworkManager", "/run/NetworkManager", "/usr/lib/NetworkManager")

YES, NO = ("1", "yes", "y", "true", "t", "on"), ("0", "no", "n", "false", "f", "off")

#: A larger file does not hold settings.
MAX_SIZE = 1 << 20


class NodeFiles(Value):
    """The files of a node, read through its root directory."""

    tree: RootFs

    @property
    def denied(self) -> list[str]:
        """The files that were wanted, and that this process may not read."""
        return sorted(self.tree.denied)

    # -- files --

    def text(self, path: str) -> str:
        """A file's text; empty if it cannot be read. A symbolic link at its end is followed inside the root."""
        try:
            for _ in range(8):
                here = self.tree.look(path)
                if isinstance(here, File):
                    return here.content[:MAX_SIZE].decode("utf-8", "replace")
                if not isinstance(here, Symlink):
                    break
                path = here.target if here.target.startswith("/") else f"{path.rpartition('/')[0]}/{here.target}"
        except PermissionError:
            self.tree.denied.add(path)
        except OSError:
            pass
        return ""

    def names(self, directory: str) -> tuple[str, ...]:
        """The names in a directory, none if it cannot be read; `tree.denied` notes a missing permission."""
        try:
            here = self.tree.look(f"{directory}/.")
        except PermissionError:
            self.tree.denied.add(directory)
            return ()
        except OSError:
            return ()
        return here.names if isinstance(here, Directory) else ()

    def exists(self, *paths: str) -> bool:
        """True if any of the paths exists; an unreadable path counts as absent."""
        try:
            return any(map(self.tree.exists, paths))
        except OSError:
            return False

    def layered(self, directories: Iterable[str], ending: str) -> list[str]:
        """The files of several directories in order of their names; of equal names the first directory's."""
        found: dict[str, str] = {}
        for directory in directories:
            for name in self.names(directory):
                if name.endswith(ending) and not name.startswith("."):
                    found.setdefault(name, f"{directory}/{name}")
        return [found[name] for name in sorted(found)]

    def settings(self, paths: Iterable[str]) -> Settings:
        """All that these files say, one after the other."""
        found: Settings = {}
        for path in paths:
            for section, key, value in lines(self.text(path)):
                found.setdefault((section, key), []).append(value)
        return found

    # -- systemd --

    def networkd_files(self) -> list[str]:
        """networkd.conf(5): the first main file, then every drop-in."""
        main = [f"{base}/networkd.conf" for base in SYSTEMD if self.exists(f"{base}/networkd.conf")]
        return [*main[:1], *self.layered([f"{base}/networkd.conf.d" for base in SYSTEMD], ".conf")]

    def network_file(self, device: Link) -> str:
        """The .network file that a device is configured by; empty where there is none (systemd.network(5))."""
        state = self.text(f"/run/systemd/netif/links/{device.index}")
        for line in state.splitlines():
            key, _, value = line.partition("=")
            if key == "NETWORK_FILE":
                return value
        if state:
            return ""
        for path in self.layered([f"{base}/network" for base in SYSTEMD], ".network"):
            if self.text(path) and _matches(self.settings([path]), device):
                return path
        return ""

    def network_settings(self, path: str) -> Settings:
        """A .network file with its drop-ins."""
        name = path.rpartition("/")[2]
        return self.settings([path, *self.layered([f"{base}/network/{name}.d" for base in SYSTEMD], ".conf")])

    def enabled(self, unit: str) -> bool:
        """True if systemd starts this unit by itself; a masked unit is not enabled."""
        mask = f"/etc/systemd/system/{unit}"
        here = self.tree.look(mask) if self.exists("/etc/systemd/system") else None
        if isinstance(here, Symlink) and here.target == "/dev/null":
            return False
        for base in SYSTEMD:
            for name in self.names(f"{base}/system"):
                if name.endswith((".wants", ".requires")) and unit in self.names(f"{base}/system/{name}"):
                    return True
        return False

    def unit_settings(self, unit: str) -> Settings:
        """The settings of a systemd unit, drop-ins included (systemd.unit(5))."""
        main = [f"{base}/system/{unit}" for base in SYSTEMD if self.exists(f"{base}/system/{unit}")]
        return self.settings([*main[:1], *self.layered([f"{base}/system/{unit}.d" for base in SYSTEMD], ".conf")])

    def systemd_version(self) -> int:
        """The number that systemd's own library has in its name; 0 where there is none."""
        libraries = [f"/usr/lib/{name}/systemd" for name in self.names("/usr/lib") if name.endswith("-linux-gnu")]
        for directory in ("/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd", *libraries):
            for name in self.names(directory):
                # -252.so, -252.4-1.fc38.so, -257-9.el10.so
                number = name.partition("libsystemd-shared-")[2].partition(".")[0].partition("-")[0]
                if number.isdigit():
                    return int(number)
        return 0

    # -- ifupdown --

    def interfaces(self) -> frozenset[str]:
        """What /etc/network/interfaces names, and what the directories do that it includes on Debian."""
        files = ["/etc/network/interfaces"]
        for directory in ("/etc/network/interfaces.d", "/run/network/interfaces.d"):
            files += self.layered([directory], "")
        words = [line.split() for path in files for line in self.text(path).splitlines()]
        return frozenset(word[1] for word in words if len(word) > 1 and word[0] == "iface")

    # -- NetworkManager --

    def network_manager_conf(self) -> Settings:
        """NetworkManager.conf(5): the packages' files, then the main one, then the administrator's."""
        packages = self.layered([f"{base}/conf.d" for base in reversed(NETWORK_MANAGER[1:])], ".conf")
        own = self.layered([f"{NETWORK_MANAGER[0]}/conf.d"], ".conf")
        names = {path.rpartition("/")[2] for path in own}
        packages = [path for path in packages if path.rpartition("/")[2] not in names]
        return self.settings([*packages, f"{NETWORK_MANAGER[0]}/NetworkManager.conf", *own])

    # -- what runs, and what the kernel is set to --

    def running(self) -> frozenset[str]:
        """The names of all processes; the kernel keeps 15 characters of each (proc(5))."""
        return frozenset(self.text(f"/proc/{pid}/comm").strip() for pid in self.names("/proc") if pid.isdigit())

    def runs(self, name: str) -> bool:
        """True if a process of this name runs. The kernel keeps 15 bytes of a name (proc(5))."""
        return name[:15] in self.running()

    def commands(self) -> list[list[str]]:
        """The command lines of all processes (proc(5))."""
        return [self.text(f"/proc/{pid}/cmdline").split("\0") for pid in self.names("/proc") if pid.isdigit()]

    def newer_than(self, name: str, path: str) -> bool:
        """True if a file was written after a running program started, so it has not been read yet; proc(5)."""
        boot = [line.split()[1] for line in self.text("/proc/stat").splitlines() if line.startswith("btime ")]
        try:
            written = self.tree.status(path).st_mtime
        except OSError:
            return False
        for pid in filter(str.isdigit, self.names("/proc")):
            fields = self.text(f"/proc/{pid}/stat").rpartition(")")[2].split()
            if boot and len(fields) > 19 and self.text(f"/proc/{pid}/comm").strip() == name[:15]:
                # Field 22 counts hundredths of a second since boot; btime is rounded to a second.
                return written > int(boot[0]) + int(fields[19]) / os.sysconf("SC_CLK_TCK") + 1
        return False

    def sysctl(self, name: str, device: str = "") -> int | None:
        """A number under /proc/sys, with {device} filled in; None where it cannot be told."""
        value = self.text(f"/proc/sys/{name.replace('{device}', device)}").strip()
        return int(value) if value.lstrip("-").isdigit() else None


def lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of each line of an INI file; a plain KEY=VALUE has no section."""
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if equals:
            yield section, key.strip(), value.strip()


def last(settings: Settings, section: str, key: str, default: str = "") -> str:
    """The value that counts where the last one wins; an empty one goes back to the default."""
    values = settings.get((section, key), [])
    return values[-1] if values and values[-1] else default


def is_no(settings: Settings, section: str, key: str) -> bool:
    """True if a switch that is on by default is off. Values that are not boolean are ignored, as systemd does."""
    known = [value.lower() for value in settings.get((section, key), []) if value.lower() in (*YES, *NO, "")]
    return bool(known) and known[-1] in NO


def shell(text: str, name: str) -> str:
    """The value of a variable in a file that a shell reads: the last assignment, without its quotes."""
    found = ""
    for _, key, value in lines(text):
        if key.rpartition(" ")[2] == name:
            found = value.partition(" #")[0].strip().strip("\"'")
    return found


def named(patterns: Sequence[str], names: Iterable[str]) -> bool:
    """True if one of these shell patterns matches one of these names. A leading exclamation mark negates the list."""
    if not patterns:
        return False
    turned = patterns[0].startswith("!")
    plain = [patterns[0].lstrip("!"), *patterns[1:]]
    return turned != any(fnmatchcase(name, pattern) for name in names for pattern in plain)


def _matches(settings: Settings, device: Link) -> bool:
    """[Match] of a .network file: every key that is there must fit. What only udev knows is taken to fit."""
    names = " ".join(settings.get(("Match", "Name"), [])).split()
    macs = " ".join(
        [value for key in ("MACAddress", "PermanentMACAddress") for value in settings.get(("Match", key), [])]
    )
    others = any(section == "Match" for section, _ in settings)
    if not others or (names and not named(names, [device.name])):
        return False
    return not macs or device.mac in macs.lower().split()
