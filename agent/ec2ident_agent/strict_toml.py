"""The reader of configuration files: which file is trusted, and how its bytes become values.

Both programs read their configuration here, because each file names what its program may do as root. A file is read
when it is a regular file, owned by root or by the user that runs the program, writable by its owner alone, and at most
`LIMIT` bytes long. Symbolic links are followed (NixOS, stow and Kubernetes install configuration with them): what
counts is the file at their end.

The only importer of TOML. It bounds what TOML's readers do not: Python 3.9 parses a number of a million digits for
minutes, where later versions raise ValueError; a key with 20,000 dots takes ten seconds; nested values raise
RecursionError, while parsing or when a message shows them.
"""

from __future__ import annotations

import os
import stat

from .errors import ConfigError, RefusedError, UnknownError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any, NoReturn

    #: Names of tables and keys, and numbers in lists from 0: ("overlay", 0, "address").
    Place = tuple[str | int, ...]
    Values = dict[str, Any]
else:
    Values = dict

#: The largest file, in bytes; a profile with 750 addresses takes a thirtieth of it.
LIMIT = 1 << 20
#: Digits in a row, underscores included: Python's own limit from 3.10.7 on (sys.int_info.default_max_str_digits).
DIGITS = 4300
#: Tables within tables, characters of one key, and what an integer may be (TOML 1.0: 64 bits with a sign).
DEPTH, KEY_LENGTH, INTEGER = 16, 255, range(-(2**63), 2**63)
_DEEP = f"nested too deeply (at most {DEPTH} levels)"

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Tables(Values):
    """The values of a configuration file, which knows in which line each of them stands."""

    def __init__(self, values: Values, path: str, text: str) -> None:
        super().__init__(values)
        self._path, self._text = path, text

    def where(self, *place: str | int) -> str:
        """`FILE:LINE` of a value or table, as errors begin; `FILE` when the line cannot be told."""
        line = _line_of(self._text, place) if place else None
        return f"{self._path}:{line}" if line else self._path


class ConfigFile:
    """An open configuration file that is safe to believe. Use it in a `with` statement.

    `status` is the os.stat_result of the file that was opened.
    """

    def __init__(self, path: str, handle: int, status: os.stat_result) -> None:
        self.path, self.status, self._handle = path, status, handle

    def __enter__(self) -> ConfigFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def read(self) -> bytes:
        """The content. Raises ConfigError when it is longer than LIMIT bytes, UnknownError when reading fails."""
        data = b""
        try:
            while len(data) <= LIMIT:
                part = os.read(self._handle, LIMIT + 1 - len(data))
                if not part:
                    return data
                data += part
        except OSError as failed:
            raise UnknownError(f"{self.path}: {failed.strerror}") from failed
        raise ConfigError(f"{self.path}: larger than {LIMIT} bytes")


def open_file(path: str, *, required: bool, uids: Collection[int] = ()) -> ConfigFile | None:
    """Open a configuration file without waiting for it; None when it does not exist and is not `required`.

    `uids` are the users that may own it; default: root and the effective user. Raises ConfigError for a path that is
    missing or leads to something else than a regular file, RefusedError for a file that another user could write, and
    UnknownError when the system does not let us look.
    """
    try:
        # Looked at before it is opened: opening a device may have an effect, and a socket cannot be opened.
        _check_kind(path, os.stat(path))
        # O_NONBLOCK in case that a pipe took its place: opening one waits for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        if os.path.islink(path):
            # Not the same as no configuration: its file system may not be mounted yet.
            raise ConfigError(
                f"{path}: a symbolic link to {os.readlink(path)}, which does not exist: create it or remove the link"
            ) from None
        if required:
            raise ConfigError(f"{path}: no such file: create it, or name another one with --config") from None
        return None
    except OSError as failed:
        raise UnknownError(f"{path}: {failed.strerror}{_advice(failed)}") from failed
    except ValueError as wrong:
        raise ConfigError(f"{path!r}: not a path: {wrong}") from None
    try:
        status = os.fstat(handle)
        _check_kind(path, status)
        _check_owner(path, status, uids or {0, os.geteuid()})
    except BaseException:
        os.close(handle)
        raise
    return ConfigFile(path, handle, status)


def load(path: str, *, required: bool, uids: Collection[int] = ()) -> Tables | None:
    """The values in a configuration file; None when it does not exist and is not `required`.

    Raises what `open_file` and `parse` raise.
    """
    file = open_file(path, required=required, uids=uids)
    if file is None:
        return None
    with file:
        return parse(path, file.read())


def parse(path: str, data: bytes) -> Tables:
    """The values in these bytes; `path` begins each error. Pure.

    Beyond what TOML asks: a key is one short line, integers have 64 bits, and tables nest `DEPTH` levels at most, so
    that a caller may show any value in a message. Raises ConfigError with one line: FILE:LINE: WHAT.
    """
    if len(data) > LIMIT:
        raise ConfigError(f"{path}: larger than {LIMIT} bytes")
    text = _text(path, data)
    tomllib = _tomllib()
    _check_size(path, text)
    try:
        found = Tables(tomllib.loads(text), path, text)
    except tomllib.TOMLDecodeError as wrong:
        _malformed(path, text, str(wrong))
    except RecursionError:
        raise ConfigError(f"{path}: {_DEEP}") from None
    except ValueError as wrong:
        raise ConfigError(f"{path}: {wrong}") from None
    for place, value in _walk(found):
        _check_value(found, place, value)
    return found


def shown(value: object) -> str:
    """A value as it stands in a message: `repr`, cut to a length that fits a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


# -- the file ---------------------------------------------------------------------------------------------------------


def _check_kind(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise ConfigError(f"{path}: {kind}, not a regular file")


def _check_owner(path: str, status: os.stat_result, uids: Collection[int]) -> None:
    if status.st_uid not in uids:
        owners = " or ".join("root" if uid == 0 else f"uid {uid}" for uid in sorted(uids))
        raise RefusedError(f"{path}: owned by uid {status.st_uid}, not by {owners}: chown root {path}")
    if status.st_mode & 0o022:
        raise RefusedError(f"{path}: other users may write it (mode {status.st_mode & 0o7777:04o}): chmod go-w {path}")


def _advice(failed: OSError) -> str:
    return f"; uid {os.geteuid()} may not read it" if isinstance(failed, PermissionError) else ""


def _tomllib() -> Any:
    try:
        import tomllib  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            import tomli as tomllib
        except ImportError:
            raise UnknownError("tomli, which reads TOML before Python 3.11, is not installed") from None
    return tomllib


# -- its bytes --------------------------------------------------------------------------------------------------------


def _text(path: str, data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise ConfigError(f"{path}:1: begins with a byte order mark: save it as UTF-8 without one")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 (byte 0x{data[wrong.start]:02x}): save it as UTF-8") from None


def _check_size(path: str, text: str) -> None:
    """Refuse what takes a reader of TOML more than linear time: long numbers, and keys with many dots."""
    import re  # TOML's reader has loaded it already.

    digits = re.search(rf"[0-9_]{{{DIGITS + 1},}}", text)
    if digits:
        line = text.count("\n", 0, digits.start()) + 1
        raise ConfigError(f"{path}:{line}: a number of {len(digits.group())} digits (at most {DIGITS})")
    for line, words in enumerate(text.split("\n"), 1):
        if words.count(".") < DEPTH:
            continue
        bare = re.sub(r'"[^"]*"|\'[^\']*\'', "", words).partition("#")[0]
        if any(part.count(".") >= DEPTH for part in re.split("[=,]", bare)):
            raise ConfigError(f"{path}:{line}: {_DEEP}")


def _malformed(path: str, text: str, said: str) -> NoReturn:
    """tomllib says `WHAT (at line N, column M)`; compilers and editors say `FILE:N: WHAT`."""
    what, _, where = said.rpartition(" (at ")
    line = where.partition("line ")[2].partition(",")[0]
    if not line.isdigit():
        line = str(text.rstrip("\n").count("\n") + 1)
    what, where = (what, f" (at {where}") if what else (said, "")
    raise ConfigError(f"{path}:{line}: {what[:1].lower() + what[1:]}{where}") from None


def _walk(table: Values) -> Iterator[tuple[Place, object]]:
    """Every value with its place, tables before their content. Not recursive, because keys nest at will."""
    left: list[tuple[Place, Any]] = [((), table)]
    while left:
        place, value = left.pop()
        yield place, value
        if isinstance(value, dict):
            left += [((*place, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            left += [((*place, number), each) for number, each in enumerate(value)]


def _check_value(tables: Tables, place: Place, value: object) -> None:
    key = place[-1] if place else ""
    if isinstance(key, str) and ("\n" in key or len(key) > KEY_LENGTH):
        raise ConfigError(
            f"{tables.where(*place)}: key {shown(key)}: more than one line, or more than {KEY_LENGTH} characters"
        )
    if len(place) > DEPTH:
        raise ConfigError(f"{tables.where(*place)}: {_DEEP}")
    if isinstance(value, int) and value not in INTEGER:
        name = ".".join(each if isinstance(each, str) else str(each + 1) for each in place)
        bits = value.bit_length()
        raise ConfigError(f"{tables.where(*place)}: {name}: an integer of {bits} bits (TOML allows 64)")


# -- where a value stands ---------------------------------------------------------------------------------------------

#: How often a text may be parsed to find a line, and how long it may be for that, in characters: about a second.
TRIES, SEARCHED = 40, 1 << 16


def _line_of(text: str, place: Place) -> int | None:
    """The line with which the value at a place is complete; None where that takes too long to find.

    TOML's readers do not tell it, but they read any number of whole lines from the start of a file that is right,
    except where a value goes on. So the first lines that have the value are searched for by halves.
    """
    if len(text) > SEARCHED:
        return None
    lines = text.split("\n")
    tries = 0

    def has(count: int) -> bool | None:
        nonlocal tries
        tries += 1
        return _has("\n".join(lines[:count]), place)

    without, complete = 0, len(lines)
    while complete - without > 1 and tries < TRIES:
        middle = (without + complete) // 2
        # Where a value goes on, the lines up to its beginning, and then those up to its end.
        for count in (*range(middle, without, -1), *range(middle + 1, complete)):
            found = has(count)
            if found is not None or tries >= TRIES:
                break
        if found is None:
            break
        without, complete = (without, count) if found else (count, complete)
    return complete if tries < TRIES and has(complete) else None


def _has(text: str, place: Place) -> bool | None:
    """Whether a text has a value at this place; None for a text that ends within a value."""
    try:
        found: Any = _tomllib().loads(text)
    except ValueError:
        return None
    for step in place:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True
