"""The configuration file, and a cache of what it said.

Reading TOML costs more than all the rest of a status. So a configuration that was read and found right is kept beside
the journal, in our own form, for as long as the very same file is there; `config`, which reads TOML, is not imported
then.
"""

from __future__ import annotations

import os

from .profile import Config, ExtraRoute, Overlay, Section
from .state import statefile
from .strict_toml import open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

PATH = "/etc/ec2ident/agent.toml"
CACHE, CACHE_VERSION = "ec2ident-config", 2

#: Seconds that a file must be old before it is cached: within one tick of the clock it could still change without
#: looking changed.
SETTLED = 2.0


def load(path: str, *, required: bool, uids: Collection[int], cache: str | None, now: float) -> Config:
    """The configuration; an empty one when there is no file and none is `required`.

    `uids` may own the file; `cache` is the cache's path; `now` is the time in seconds since the epoch.
    Raises ConfigError with file and line, RefusedError for a file that others could write, UnknownError for one that
    cannot be read.
    """
    file = open_file(path, required=required, uids=uids)
    if file is None:
        return Config()
    with file:
        key = _key(path, file.status)
        config = _cached(cache, key, uids) if cache else None
        if config is None:
            from .config import parse

            config = parse(path, file.read())
            if cache and now - max(file.status.st_mtime, file.status.st_ctime) > SETTLED:
                _keep(cache, key, config)
    return config


def _key(path: str, found: os.stat_result) -> str:
    """What differs between two files, and between two editions of one."""
    values = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return " ".join([*map(str, values), os.path.abspath(path)])


def _cached(cache: str, key: str, uids: Collection[int]) -> Config | None:
    """What the same file said when it was last read; None if the cache is of another file, or could be forged."""
    try:
        found = os.lstat(cache)
        data = statefile.read(cache) if found.st_uid in uids and not found.st_mode & 0o022 else None
        rows = statefile.unpack(CACHE, CACHE_VERSION, data or b"")
        if rows[0] != (key,):
            return None
        routes: dict[str, list[ExtraRoute]] = {}
        for row in rows[1:]:
            if row[0] == "route":
                routes.setdefault(row[1], []).append(ExtraRoute(row[2], row[3], int(row[4]), int(row[5])))
        sections = tuple(_unpack(row[1:], routes) for row in rows[1:] if row[0] == "interface")
        return Config(sections, tuple(Overlay(*row[1:]) for row in rows[1:] if row[0] == "overlay"))
    except (OSError, ValueError, TypeError, IndexError):
        return None  # A cache: whatever is wrong with it, the file itself is read.


_LISTS, _NUMBERS = ("subnets", "routers", "sources", "vpc"), ("table", "priority", "mtu", "advmss")
_FIELDS = tuple(name for name in Section._fields if name != "routes")


def _unpack(row: statefile.Fields, routes: dict[str, list[ExtraRoute]]) -> Section:
    fields: dict[str, Any] = dict(zip(_FIELDS, row))
    fields.update({name: tuple(fields[name].split()) for name in _LISTS})
    fields.update({name: int(fields[name]) for name in _NUMBERS})
    return Section(**fields, routes=tuple(routes.get(fields["name"], ())))


def _pack(section: Section) -> statefile.Fields:
    values = (getattr(section, name) for name in _FIELDS)
    return ("interface", *(" ".join(value) if isinstance(value, tuple) else str(value) for value in values))


def _keep(cache: str, key: str, config: Config) -> None:
    rows = [(key,), *map(_pack, config.sections)]
    for section in config.sections:
        rows += [
            ("route", section.name, each.destination, each.via, str(each.mtu), str(each.advmss))
            for each in section.routes
        ]
    rows += [("overlay", each.address, each.device, each.label, each.via) for each in config.overlays]
    try:
        statefile.write(cache, statefile.pack(CACHE, CACHE_VERSION, rows))
    except OSError:
        return  # An ordinary user, or no state directory yet: the next one reads the file again.
