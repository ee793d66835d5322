"""The parser of command lines for `ec2ident` and `ec2ident-failover`: argparse, with the manners of `command`.

`ec2ident-agent` reads its command line from a table of its own, because a hook would pay for importing argparse; the
words are the same.
"""

from __future__ import annotations

import argparse
import sys

from ec2ident import __version__

from . import VERSION
from .exit_codes import DONE, USAGE
from .frame import log, say
from .spelling import no_such

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Options are written in full; an unknown word is answered with the one that was meant; help is a result.

    argparse itself drops the system's error when help cannot be written, and ends with 0.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})
        self._verbs: Any = None

    def add_subparsers(self, **options: Any) -> Any:
        """The verbs. `help VERB` is `VERB --help`."""
        self._verbs = super().add_subparsers(**{"metavar": "VERB", **options})
        return self._verbs

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, but each parser says itself which words it does not know."""
        words = list(sys.argv[1:] if args is None else args)
        if self._verbs is not None:
            if words[:1] == ["help"]:
                words = [*words[1:], "--help"]
            self._check_verb(words[0] if words else "")
        found, left = super().parse_known_args(words, namespace)
        if left:
            self._refuse(left[0])
        return found, left

    def _check_verb(self, word: str) -> None:
        verbs = self._verbs.choices
        if not word:
            self.error(f"which verb? (known: {', '.join(verbs)})")
        if word.startswith("-") and word.partition("=")[0] not in self._option_string_actions:
            self._refuse(word)
        if not word.startswith("-") and word not in verbs:
            self.error(no_such("verb", word, verbs))

    def options_as(self, title: str) -> str:
        """The options of this parser without `--help`, as a section for the help of another parser."""
        lines = self._get_formatter()
        lines.start_section(title)
        lines.add_arguments([one for one in self._actions if one.option_strings and one.dest != "help"])
        lines.end_section()
        return lines.format_help().rstrip("\n")

    def _refuse(self, word: str) -> NoReturn:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        option = word.partition("=")[0]
        self.error(no_such("option", option, known) if word.startswith("-") else f"{word}: one word too many")

    def print_help(self, file: object = None) -> None:
        """The help text, as a result. Raises OutputError when it cannot be written."""
        say(self.format_help().rstrip("\n"))

    def error(self, message: str) -> NoReturn:
        """One line, and exit code 2."""
        log(f"{self.prog}: {message}; see {self.prog} --help")
        raise SystemExit(USAGE)


class Version(argparse.Action):
    """`--version` prints the version."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=VERSION)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version as the result, and end the program with exit code 0."""
        say(f"{parser.prog} {__version__}")
        raise SystemExit(DONE)
