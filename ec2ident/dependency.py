"""Loads a foreign library; its import may fail in any way: not installed, for another processor, a panic.

`cryptography` with the wrong OpenSSL raises AttributeError, ImportError or pyo3's PanicException, which is not even an
Exception; a library for another processor raises ImportError or OSError. The importer names its own error instead.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

#: Exceptions that do not mean that a library failed: Ctrl-C, the end of the process or of a generator.
PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit)


class Loading:
    """`with Loading("requests", Error): import requests` raises `Error(words)` from whatever the import raised."""

    def __init__(self, library: str, error: Callable[[str], Exception]) -> None:
        self._library = library
        self._error = error

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None and not isinstance(error, PASSING):
            raise self._error(f"{self._library} cannot be loaded: {words(error)}") from error


def words(error: BaseException) -> str:
    """An error of another library in one line: its type, and the beginning of its text."""
    text = " ".join(str(error).split())
    text = "".join(character if character.isprintable() else "?" for character in text)
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
