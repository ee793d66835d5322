"""The frame of the three programs: what it makes of results, losses, interrupts and bugs."""

from __future__ import annotations

import gc
import io
import os
import sys
import unicodedata
from collections.abc import Callable

import pytest

from ec2ident.program import exit_codes
from ec2ident.program.frame import OutputError, log, run, safe, say

#: Unicode's categories of controls, formats, surrogates, and the ends of lines and paragraphs.
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


class Broken(io.StringIO):
    """A stream that fails when it is written or flushed."""

    def __init__(self, error: OSError, when: str) -> None:
        super().__init__()
        self.error, self.when = error, when

    def write(self, text: str) -> int:
        if self.when == "write":
            raise self.error
        return len(text)

    def flush(self) -> None:
        raise self.error


FULL, GONE = OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")


def test_the_code_of_the_command_is_the_programs() -> None:
    """Whatever it is."""
    assert 3 == run("p", lambda: 3)


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_rests_while_a_command_runs_and_is_as_before_afterwards(before: bool) -> None:
    """Also after a bug; a program that calls `main` keeps the collector that it had."""
    try:
        for switch in (gc.disable, gc.enable):
            (gc.enable if before else gc.disable)()
            seen: list[bool] = []

            def command(switch: Callable[[], None] = switch, seen: list[bool] = seen) -> int:
                seen.append(gc.isenabled())
                switch()
                raise RuntimeError

            run("program", command)

            assert ([False], before) == (seen, gc.isenabled())
    finally:
        gc.enable()


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (2, 2), ("text", 2)])
def test_an_exit_is_a_code(code: object, expected: int) -> None:
    """argparse ends with SystemExit; callers of main get a number."""

    def command() -> int:
        raise SystemExit(code)

    assert expected == run("p", command)


@pytest.mark.parametrize("when", ["write", "flush"])
@pytest.mark.parametrize(("error", "expected"), [(FULL, 4), (GONE, 141)])
def test_a_result_that_is_lost_is_not_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError, expected: int, when: str
) -> None:
    """A full disk is one line; a reader that has gone is what the shell reports for SIGPIPE, without a line."""
    monkeypatch.setattr(sys, "stdout", Broken(error, when))

    def command() -> int:
        say("the result")
        return 0

    assert expected == run("p", command)
    assert ("p: standard output: No space left on device\n" if error is FULL else "") == capsys.readouterr().err


def test_what_a_result_that_is_lost_means_is_the_programs_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 is suspect for `ec2ident`, which a full disk does not show."""
    monkeypatch.setattr(sys, "stdout", Broken(FULL, "flush"))

    assert 3 == run("p", lambda: 0, failed=3)


def test_a_log_that_is_lost_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A move that was begun is finished, although its reader has gone."""
    monkeypatch.setattr(sys, "stderr", Broken(GONE, "write"))

    def command() -> int:
        log("a step")
        return 1

    assert 1 == run("p", command)


def test_a_broken_pipe_elsewhere_is_not_the_reader_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that breaks, untranslated, is a bug: the result was not even begun."""

    def command() -> int:
        raise GONE

    assert exit_codes.BUG == run("p", command)
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_neither_no_nor_drift(capsys: pytest.CaptureFixture[str]) -> None:
    """Python ends with 1 after a traceback, which a script would take for an answer."""

    def command() -> int:
        raise ZeroDivisionError("what")

    assert 70 == run("p", command)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Traceback")
    assert said[-2:] == [
        "ZeroDivisionError: what",
        "p: this is a bug in ec2ident: please report it with the lines above",
    ]


def test_a_file_that_the_system_refuses_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named."""

    def command() -> int:
        with open("/nonexistent/x"):
            return 0

    assert 4 == run("p", command)
    assert "p: /nonexistent/x: No such file or directory\n" == capsys.readouterr().err


def test_an_interrupt_has_the_shells_code(capsys: pytest.CaptureFixture[str]) -> None:
    """And says what the program says about it."""

    def command() -> int:
        raise KeyboardInterrupt

    assert 130 == run("p", command, interrupted="stopped; run it again")
    assert "p: stopped; run it again\n" == capsys.readouterr().err


def test_a_log_line_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls at the same time log at the same time; their lines do not mix."""
    pieces: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Stream())
    log("one line")

    assert ["one line\n"] == pieces


def test_control_characters_are_shown() -> None:
    """A name of a device may hold an escape sequence; the end of a line stays one."""
    assert "a\nb\\x1b[2J\\x9b\\udcff…" == safe("a\nb\x1b[2J\x9b\udcff…")


def test_every_control_and_format_character_is_escaped_wherever_it_stands() -> None:
    """None of them is printable to Python, and a printable text is written as it stands."""
    hidden = [number for number in range(sys.maxunicode + 1) if unicodedata.category(chr(number)) in HIDDEN]

    for number in hidden:
        if number != ord("\n"):
            assert chr(number) not in safe(f"eth{chr(number)}0"), hex(number)
            assert chr(number) not in safe(f"\n…{chr(number)}"), hex(number)


@pytest.mark.parametrize(("encoding", "expected"), [("ascii", "...\\xe9\\u20ac"), ("latin-1", "...é\\u20ac")])
def test_what_an_encoding_does_not_have_is_replaced(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: str
) -> None:
    """Three dots for an ellipsis, and the number of a character for what is a name's."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))

    def command() -> int:
        say("…é€")
        return 0

    assert 0 == run("p", command)
    assert f"{expected}\n" == raw.getvalue().decode(encoding)


def test_the_error_of_a_lost_result_names_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who calls `say` without `run` gets an exception with the system's error."""
    monkeypatch.setattr(sys, "stdout", Broken(FULL, "write"))

    with pytest.raises(OutputError, match="standard output: No space left on device") as caught:
        say("x")
    assert FULL is caught.value.cause


def test_the_table_has_each_code_once() -> None:
    """And the legend of the help texts is made of it."""
    codes = [code for code, _, _ in exit_codes.TABLE]

    assert sorted({*codes}) == codes
    assert "exit codes: 0 yes, 1 no, 2 usage, 3 could not tell, 4 suspect" in exit_codes.LEGEND
    assert "4 failed or refused" in exit_codes.ACTING_LEGEND
    assert os.EX_SOFTWARE == exit_codes.BUG
