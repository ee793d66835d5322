"""The three programs in any environment: locale, closed and full standard files, umask, no HOME, optimized Python.

Each runs as a process of its own with the variables that are named here and no others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ec2ident
from ec2ident import cli as library
from ec2ident.program import DRY_RUN
from ec2ident_agent import options
from ec2ident_agent.failover import cli as failover

TOP = Path(__file__).parent.parent
PROGRAMS = {
    "ec2ident": ["-m", "ec2ident"],
    "ec2ident-agent": [str(TOP / "agent/bin/ec2ident-agent")],
    "ec2ident-failover": ["-m", "ec2ident_agent.failover.cli"],
}
BARE = {
    "PATH": os.environ.get("PATH", os.defpath),
    "PYTHONPATH": f"{TOP}:{TOP / 'agent'}",
    # No test asks the machine's own metadata service.
    "AWS_EC2_METADATA_DISABLED": "true",
}
#: Not programs on the path, but their callers read a help or a description.
OTHERS = {
    "ec2ident.testing": ["-m", "ec2ident.testing", "--help"],
    "ec2ident-ocf": [str(TOP / "agent/bin/ec2ident-ocf"), "overlay", "meta-data"],
}
ENVIRONMENTS = {
    "nothing": {},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "POSIX": {"LANG": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "unbuffered": {"PYTHONUNBUFFERED": "1"},
    "optimized": {"PYTHONOPTIMIZE": "1"},
    "without docstrings": {"PYTHONOPTIMIZE": "2"},
    "directory for temporary files": {"TMPDIR": "/tmp/a b/none"},
    "home": {"HOME": "/nonexistent"},
}

AGENT_TOML = """
[interface."größe…"]
mac = "06:00:00:00:00:01"
subnet = "10.0.1.0/24"
table = 100
table_name = "MYHA"
"""
FAILOVER_TOML = """
region = "eu-west-1"
account = "123456789012"
instances = ["i-0a1b2c3d"]
interfaces = ["eni-0a1b2c3d"]
[service."größe…"]
overlay = ["192.168.10.5"]
[service."größe…".route]
tables = ["rtb-0a1b2c3d"]
"""
#: A command of each program that prints a result, with the exit code; {} is the directory of the test.
RESULTS = {
    "ec2ident": (["show", "--no-network", "--explain", "--level", "proof"], {1, 3, 4}),
    "ec2ident-agent": (["status", "--config", "{}/agent.toml", "--state-dir", "{}/state", "--wait", "0"], {0, 1}),
    "ec2ident-failover": (["policy", "--config", "{}/failover.toml"], {0}),
}
#: Commands that end in an error that shows a text of the user.
MISTAKES = {
    "ec2ident": (["verify", "größe…"], 2),
    "ec2ident-agent": (["größe…"], 2),
    "ec2ident-failover": (["route", "show", "größe…\x1b[2J", "--config", "{}/failover.toml", "--tag", "x"], 2),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The configurations of two programs, in a directory with a space in its name."""
    found = tmp_path / "a b"
    found.mkdir()
    for name, text in (("agent.toml", AGENT_TOML), ("failover.toml", FAILOVER_TOML)):
        (found / name).write_text(text, encoding="utf-8")
        (found / name).chmod(0o644)
    return found


def call(
    program: str, *words: str, directory: Path | str = "", environ: dict[str, str] | None = None, shell: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program; `shell` is what a shell writes behind the command, such as `>&-`."""
    argv = [sys.executable, *PROGRAMS[program], *(word.replace("{}", str(directory)) for word in words)]
    if shell:
        argv = ["sh", "-c", f'exec "$@" {shell}', "sh", *argv]
    return subprocess.run(
        # As a terminal sends them, whatever the locale of the tests is.
        [word.encode() for word in argv],
        env={**BARE, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_help_results_and_errors_in_any_environment(program: str, environment: str, directory: Path) -> None:
    """Never a traceback, and never the exit code 1 of one, which means no or drift."""
    environ = ENVIRONMENTS[environment]

    shown = call(program, "--help", environ=environ)
    assert (0, "") == (shown.returncode, shown.stderr)
    assert "exit codes: 0 " in " ".join(shown.stdout.split())

    command, codes = RESULTS[program]
    result = call(program, *command, directory=directory, environ=environ)
    assert "Traceback" not in result.stderr
    assert result.returncode in codes, result.stderr
    assert result.stdout

    command, code = MISTAKES[program]
    wrong = call(program, *command, directory=directory, environ=environ)
    assert (code, "") == (wrong.returncode, wrong.stdout), wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert "\x1b" not in wrong.stderr
    assert f"{program}" in wrong.stderr


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
@pytest.mark.parametrize("program", sorted(OTHERS))
def test_the_help_of_what_is_called_by_others(program: str, environment: str) -> None:
    """The metadata service for tests, and Pacemaker's resource agents, which run with LC_ALL=C."""
    done = subprocess.run(
        [sys.executable, *OTHERS[program]],
        env={**BARE, **ENVIRONMENTS[environment]},
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (0, b"") == (done.returncode, done.stderr)
    assert done.stdout


@pytest.mark.parametrize("shell", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_closed_standard_files_change_no_exit_code(program: str, shell: str, directory: Path) -> None:
    """A caller that closes them wants the exit code alone."""
    command, codes = RESULTS[program]
    mistake, code = MISTAKES[program]

    assert call(program, *command, directory=directory, shell=shell).returncode in codes
    assert code == call(program, *mistake, directory=directory, shell=shell).returncode
    assert 0 == call(program, "--help", shell=shell).returncode


#: Every verb of every program.
VERBS = {
    "ec2ident": tuple(library.VERBS),
    "ec2ident-agent": tuple(options.VERBS),
    "ec2ident-failover": tuple(failover.VERBS),
}


@pytest.mark.parametrize(("program", "verb"), [(program, verb) for program in VERBS for verb in VERBS[program]])
def test_each_verb_has_a_help_that_fits_a_screen(program: str, verb: str) -> None:
    """24 lines of 80 columns, in ASCII; `help VERB` is the same as `VERB --help`."""
    shown = call(program, *verb.split(), "--help")
    lines = shown.stdout.splitlines()

    assert (0, "") == (shown.returncode, shown.stderr)
    assert shown.stdout.startswith(f"usage: {program} {verb}")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert shown.stdout.isascii()
    assert shown.stdout == call(program, "help", *verb.split()).stdout


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_the_same_words_in_each_program(program: str) -> None:
    """`help`, `--help` and `-h`; `--version`; `--json`; and an answer to a slip of a verb or an option."""
    verb = {"ec2ident": "show", "ec2ident-agent": "status", "ec2ident-failover": "route status"}[program].split()

    assert call(program, "help").stdout == call(program, "--help").stdout == call(program, "-h").stdout
    assert f"{program} {ec2ident.__version__}\n" == call(program, "--version").stdout
    assert "  --json" in call(program, "help" if "failover" in program else verb[0], "--help").stdout
    for slipped, meant in (([*verb[:-1], f"{verb[-1]}s"], verb[-1]), ([*verb, "--jsn"], "--json")):
        slip = call(program, *slipped)
        assert 2 == slip.returncode
        assert (
            f"{slipped[-1]}: no such {'option' if meant[0] == '-' else 'verb'} (did you mean {meant}?)" in slip.stderr
        )
        assert slip.stderr.endswith("--help\n")


def test_older_words_still_work() -> None:
    """`show` and `--plan` of ec2ident-failover, which scripts of early users have."""
    assert (
        call("ec2ident-failover", "route", "status", "-h").stdout
        == call("ec2ident-failover", "route", "show", "-h").stdout
    )
    assert "--dry-run, --plan" in call("ec2ident-failover", "takeover", "--help").stdout


@pytest.mark.parametrize("program", ["ec2ident-agent", "ec2ident-failover"])
def test_a_dry_run_has_one_name_and_one_line(program: str) -> None:
    """In each verb that acts."""
    acting = {
        "ec2ident-agent": ("apply", "revert", "overlay", "doctor", "install", "uninstall"),
        "ec2ident-failover": ("route ensure", "route delete", "eni move", "dns ensure", "takeover", "release"),
    }

    for verb in acting[program]:
        text = " ".join(call(program, *verb.split(), "--help").stdout.split())
        assert "--dry-run" in text
        assert DRY_RUN in text, verb


def test_what_is_saved_does_not_mix_with_what_is_printed(tmp_path: Path) -> None:
    """With closed standard files the first file that is opened would be standard output."""
    words = ("evidence", "--no-network", "--save")
    plain = call("ec2ident", *words, str(tmp_path / "plain"))
    closed = call("ec2ident", *words, str(tmp_path / "closed"), shell="<&- >&- 2>&-")

    assert plain.returncode == closed.returncode
    names = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "closed").iterdir())
    assert (tmp_path / "closed/evidence.json").read_bytes()[:1] == b"{"


def test_what_install_writes_is_readable_under_any_umask(tmp_path: Path) -> None:
    """Network managers and systemd refuse or skip a hook in a directory that they cannot enter."""
    (tmp_path / "etc/network/if-up.d").mkdir(parents=True)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    before = {*tmp_path.rglob("*")}
    words = ("install", "--root", str(tmp_path), "--program", "/usr/bin/ec2ident-agent", "--ocf")
    argv = [sys.executable, *PROGRAMS["ec2ident-agent"], *words]
    done = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$@"', "sh", *argv], env=BARE, capture_output=True, text=True, check=False
    )
    made = {path for path in tmp_path.rglob("*") if not path.is_symlink()} - before

    assert (0, True) == (done.returncode, bool(made)), done.stderr
    assert [] == sorted(path for path in made if path.stat().st_mode & 0o044 != 0o044)


#: What a result that cannot be written is for each program: 4 would be "suspect" for the first.
LOST = {"ec2ident": 3, "ec2ident-agent": 4, "ec2ident-failover": 4}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("environment", ["nothing", "unbuffered"])
@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_full_standard_output_is_one_line(program: str, environment: str, directory: Path) -> None:
    """Python flushes once more at exit and ends with 120, unless its output is unbuffered."""
    command, _ = RESULTS[program]
    for each in (command, ["--help"], ["--version"]):
        done = call(program, *each, directory=directory, environ=ENVIRONMENTS[environment], shell="> /dev/full")
        assert LOST[program] == done.returncode, each
        assert f"{program}: standard output: No space left on device" == done.stderr.splitlines()[-1]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_resource_agent_that_loses_its_output_has_failed() -> None:
    """1 is OCF_ERR_GENERIC, with the reason that the engine shows; 120 would be no code of OCF."""
    argv = ["sh", "-c", 'exec "$@" > /dev/full', "sh", sys.executable, *OTHERS["ec2ident-ocf"]]
    done = subprocess.run(argv, env=BARE, capture_output=True, text=True, timeout=60, check=False)

    expected = "ocf-exit-reason:standard output: No space left on device\n"
    assert (1, expected) == (done.returncode, done.stderr)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_full_standard_error_changes_no_exit_code(program: str, directory: Path) -> None:
    """Where the log cannot be written, the exit code is still the answer."""
    command, code = MISTAKES[program]

    assert code == call(program, *command, directory=directory, shell="2> /dev/full").returncode


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_reader_that_has_gone_is_not_an_answer(program: str, directory: Path) -> None:
    """141, as the shell reports a program that SIGPIPE ended, for all of them, and silence."""
    command, _ = RESULTS[program]
    for each in (command, ["--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        argv = [sys.executable, *PROGRAMS[program], *(word.replace("{}", str(directory)) for word in each)]
        done = subprocess.run(argv, env=BARE, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(writing)
        assert (141, b"") == (done.returncode, done.stderr)
