"""Read one table of a configuration strictly, and name each error as the user wrote the key."""

from __future__ import annotations

from ec2ident.program.spelling import no_such
from ec2ident_agent import strict_toml

from .errors import FailoverError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Said = Callable[[str], str]


class TableReader:
    """One table. Each key is taken once, by its type; a key that is left at the end is an error.

    `said` turns the path of a key, such as `service.db.dns.ttl`, into the name that the user wrote.
    """

    def __init__(self, path: str, table: Any, said: Said) -> None:
        if not isinstance(table, dict):
            raise UsageError(f"{said(path)}: is not a table")
        self.path, self.said, self.left = path, said, dict(table)
        self.known: list[str] = []

    def name(self, key: str) -> str:
        """The name of a key, as the user wrote it."""
        return self.said(f"{self.path}.{key}" if self.path else key)

    def _take(self, key: str, kinds: tuple[type, ...], default: Any, expected: str) -> Any:
        self.known.append(key)
        value = self.left.pop(key, default)
        if value is default:
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"{self.name(key)}: {strict_toml.shown(value)} is not {expected}")
        return value

    def text(self, key: str, check: Callable[[str], str] = str) -> str:
        """A text in the spelling that `check` returns. An empty or missing one is "", and is not checked."""
        found: str = self._take(key, (str,), "", "a text")
        return self._checked(key, check, found) if found else ""

    def texts(self, key: str, check: Callable[[str], str] = str) -> tuple[str, ...]:
        """A list of texts, or one text; each is checked."""
        value = self._take(key, (str, list), (), "a list of texts")
        found = (value,) if isinstance(value, str) else tuple(value)
        if not all(isinstance(each, str) and each for each in found):
            raise UsageError(f"{self.name(key)}: {strict_toml.shown(value)} is not a list of texts")
        return tuple(self._checked(key, check, each) for each in found)

    def _checked(self, key: str, check: Callable[[str], str], text: str) -> str:
        """The text in the spelling of `check`. The key's name is made for an error only: its line is searched for."""
        self._utf8(key, text)
        try:
            return check(text)
        except FailoverError as error:
            raise UsageError(f"{self.name(key)}: {error}") from None

    def _utf8(self, key: str, text: str) -> None:
        """Flags and parameters that are not UTF-8 arrive with surrogates (PEP 383). Raises UsageError."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{self.name(key)}: {text[:32]!r} is not UTF-8") from None

    def one(self, key: str, words: Sequence[str]) -> str:
        """One of two words; the first one is the default."""
        found = self.text(key) or words[0]
        if found not in words:
            raise UsageError(f"{self.name(key)}: {found!r} is neither {' nor '.join(words)}")
        return found

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        found: bool = self._take(key, (bool,), default, "true or false")
        return found

    def switch(self, key: str) -> bool | None:
        """True or false, or None if it is not given."""
        found: bool | None = self._take(key, (bool,), None, "true or false")
        return found

    def number(self, key: str, default: Any, low: float, high: float) -> Any:
        """A number from `low` to `high`, both included."""
        found = self._take(key, (int, float), default, "a number")
        if found is not default and not low <= found <= high:
            raise UsageError(f"{self.name(key)}: {found} is not from {low:g} to {high:g}")
        return found

    def whole(self, key: str, default: Any, low: int, high: int) -> Any:
        """A whole number from `low` to `high`, both included."""
        found = self.number(key, default, low, high)
        if isinstance(found, float):
            raise UsageError(f"{self.name(key)}: {found} is not a whole number")
        return found

    def table(self, key: str) -> TableReader | None:
        """The table of that name; None if it is not there."""
        self.known.append(key)
        value = self.left.pop(key, None)
        return None if value is None else TableReader(f"{self.path}.{key}" if self.path else key, value, self.said)

    def end(self) -> None:
        """Raises UsageError for a key that was not taken.

        Called before anything is said to be missing, because a misspelt key is the likely cause.
        """
        if self.left:
            key = min(self.left)
            raise UsageError(no_such("key", key, self.known, written=self.name(key), few=len(self.known)))

    def require(self, **values: object) -> None:
        """Raises UsageError for the first of these keys that has no value."""
        for key, value in values.items():
            if not value:
                raise UsageError(f"{self.name(key)}: is missing")

    def one_of(self, keys: Sequence[str]) -> str:
        """This table and the keys of it of which one is needed, or the options that stand for them."""
        where = self.said(self.path)
        return f"{where}: {', '.join(keys)}" if where.endswith(self.path) else where
