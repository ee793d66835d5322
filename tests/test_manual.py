"""Man pages and completion: made of the tables of the programs, current, and understood by the tools that read them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ec2ident import cli as library
from ec2ident_agent import config, options
from ec2ident_agent.failover import arguments, settings
from ec2ident_agent.failover.table_reader import TableReader

from .test_programs import VERBS, call

TOP = Path(__file__).parent.parent
SHARE = TOP / "share"
PAGES = sorted(SHARE.glob("man/man*/*"))
BASH, ZSH, FISH = (sorted(SHARE.glob(f"{shell}/*/*")) for shell in ("bash-completion", "zsh", "fish"))
#: What the shells see: nothing of the user who runs the tests.
BARE = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "LC_ALL": "C"}


def run(*argv: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program without standard input."""
    return subprocess.run(
        [str(word) for word in argv],
        env={**BARE, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def page(program: str) -> str:
    """The text of a page as its source has it, without the escapes of roff."""
    (path,) = SHARE.glob(f"man/man*/{program}.[1-8]")
    text = re.sub(r"\\f[BIR]", "", path.read_text(encoding="utf-8"))
    for escaped, letter in ((r"\-", "-"), (r"\(aq", "'"), (r"\&", ""), (r"\(ha", "^"), (r"\(ti", "~"), (r"\e", "\\")):
        text = text.replace(escaped, letter)
    return text


def section(program: str, heading: str) -> str:
    return page(program).split(f".SH {heading}\n")[1].split("\n.SH ")[0]


def terms(program: str, heading: str) -> list[str]:
    """What a section of a page lists, in one line each."""
    return re.findall(r"^\.TP\n(.+)", section(program, heading), re.M)


def make(top: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of scripts/manual."""
    return run(sys.executable, "-B", top / "scripts/manual", *words)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What scripts/manual reads and writes, to change."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(TOP / "scripts/manual", tmp_path / "scripts/manual")
    shutil.copytree(TOP / "scripts/manuals", tmp_path / "scripts/manuals")
    shutil.copytree(SHARE, tmp_path / "share")
    for name in ("ec2ident", "agent"):
        (tmp_path / name).symlink_to(TOP / name)
    return tmp_path


# -- current ----------------------------------------------------------------------------------------------------------


def test_every_file_is_what_the_tables_give_now() -> None:
    """A changed option changes its page and its completion, or scripts/check says so."""
    done = run(sys.executable, TOP / "scripts/manual", "--check")

    assert (0, "") == (done.returncode, done.stderr)
    assert 14 == len([*PAGES, *BASH, *ZSH, *FISH])


def test_what_is_missing_changed_or_left_over_is_named_and_written_anew(checkout: Path) -> None:
    """Each of the three, and --write mends them; any other word is wrong usage."""
    (checkout / "share/man/man1/ec2ident.1").unlink()
    (checkout / "share/man/man8/ec2ident-old.8").touch()
    changed = checkout / "share/bash-completion/completions/ec2ident"
    changed.write_text(changed.read_text(encoding="utf-8") + "#\n", encoding="utf-8")

    checked = make(checkout)

    assert 1 == checked.returncode
    assert [
        "manual: share/man/man1/ec2ident.1: is missing",
        "manual: share/man/man8/ec2ident-old.8: is no longer made",
        "manual: share/bash-completion/completions/ec2ident: is out of date",
        "manual: run scripts/manual --write",
    ] == checked.stderr.splitlines()
    assert 0 == make(checkout, "--write").returncode
    assert 0 == make(checkout, "--check").returncode
    assert 2 == make(checkout, "--wirte").returncode


# -- complete ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", sorted(VERBS))
def test_a_page_has_every_verb_and_option_of_the_help(program: str) -> None:
    """The help, as the program prints it, is the witness."""
    shown = [call(program, *verb.split(), "--help").stdout for verb in VERBS[program]]
    shown.append(call(program, "--help").stdout)
    known = {option for text in shown for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)}

    assert {"--json", "--help", "--version"} <= known
    assert set() == known - {*re.findall(r"--[a-z][a-z-]+", page(program))}
    for verb in VERBS[program]:
        assert re.search(rf"^{program} {verb}\b", section(program, "SYNOPSIS"), re.M), verb
        assert re.search(rf"^\.SS {verb}$", page(program), re.M), verb


def test_examples_are_commands_that_the_programs_read() -> None:
    """A page that shows what its program refuses would be found wrong by its first reader."""
    readers: dict[str, Callable[[list[str]], object]] = {
        "ec2ident": lambda words: library._plain(words) or not words or library._options(words),
        "ec2ident-agent": options.parse_command_line,
        "ec2ident-failover": arguments.parser().parse_args,
    }

    for program, read in readers.items():
        shown = terms(program, "EXAMPLES")
        assert len(shown) >= 4
        for command in shown:
            name, *words = shlex.split(command)
            assert program == name
            assert read(words)


def test_files_and_variables_that_a_page_names_are_in_the_sources() -> None:
    """A renamed variable would stay in the page, which no table has."""
    paths = [*(TOP / "ec2ident").rglob("*.py"), *(TOP / "agent/ec2ident_agent").rglob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    named = [*terms("ec2ident", "ENVIRONMENT"), *terms("ec2ident-failover", "ENVIRONMENT")]
    listed = [*terms("ec2ident-agent", "FILES"), *terms("ec2ident-failover", "FILES")]

    assert len(named) > 4
    assert [] == [name for line in named for name in line.split(", ") if name not in source]
    assert len(listed) > 4
    for path in listed:
        assert path in source or Path(path).name in source, path


def test_every_key_of_agent_toml_is_on_its_page() -> None:
    """With what it does: a key without a line of explanation is an omission."""
    shown = page("ec2ident-agent.toml")
    tables = dict(re.findall(r"^\.SS (\S+)\n(.*?)(?=^\.S[SH])", shown, re.M | re.S))

    for heading, known in (("[interface.eth1]", config._INTERFACE), ("[[overlay]]", config._OVERLAY)):
        described = re.findall(r"^\.T[PQ]\n(\w+) = .+\n[A-Z2].+", tables[heading], re.M)
        assert {*known} == {*described}, heading


#: Every table of failover.toml, with what each needs.
WHOLE = """
[endpoints]
[service.db]
overlay = ["192.168.10.5"]
[service.db.route]
tables = ["rtb-0a1b2c3d"]
[service.db.eni]
id = "eni-0a1b2c3d"
[service.db.private]
addresses = ["10.0.1.50"]
[service.db.eip]
allocation = "eipalloc-0a1b2c3d"
[service.db.dns]
zone = "Z0123456789ABCDEFGHIJ"
name = "db.example.corp"
[service.db.hold]
command = ["true"]
"""


#: A service that FRR announces: it has no route.
ANNOUNCED = """
[service.db]
overlay = "192.168.10.5"
[service.db.bgp]
asn = 65001
endpoint_asn = 65000
endpoints = "10.0.1.11"
"""


def test_every_key_of_failover_toml_is_on_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader says itself which keys it asked for."""
    asked: dict[str, set[str]] = {}
    end = TableReader.end

    def note(reader: TableReader) -> None:
        asked[reader.path] = {*reader.known}
        end(reader)

    monkeypatch.setattr(TableReader, "end", note)
    for text in (WHOLE, ANNOUNCED):
        settings.parse(text.encode())
    shown = page("ec2ident-failover.toml")
    tables = dict(re.findall(r"^\.SS ([^\n]+)\n(.*?)(?=^\.S[SH])", shown, re.M | re.S))
    # Tables are headings of their own; the role of a part is described once, where it says "also for eni and dns".
    parts = {"service", "endpoints", "route", "eni", "dns", "private", "eip", "hold", "bgp"}

    assert {"", "endpoints", *(f"service.db{part}" for part in ("", ".route", ".eni", ".dns", ".bgp"))} <= {*asked}
    assert "lso for eni and dns" in tables["[service.db.route]"]
    for path, known in asked.items():
        text = tables[f"[{path}]" if path else "Above all tables"]
        missing = {key for key in known if not re.search(rf"\b{key} = ", text)}
        once = {"role_arn", "external_id"} if path in ("service.db.eni", "service.db.dns") else set()
        assert set() == missing - once - (parts if path in ("", "service.db") else set()), path


# -- man pages --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc (Debian: mandoc)")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_mandoc_finds_nothing_to_say(path: Path) -> None:
    """But that there is no date, on purpose: the same tables give the same bytes."""
    done = run("mandoc", "-Tlint", path)

    assert [] == [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line]


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff (Debian: groff-base)")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_groff_warns_of_nothing_and_shows_the_page(path: Path) -> None:
    """man formats with groff; 80 columns hold every line but commands that cannot be broken."""
    done = run("groff", "-man", "-Tascii", "-ww", "-P-c", path)
    shown = re.sub(r".\x08", "", done.stdout)

    assert (0, "") == (done.returncode, done.stderr)
    assert "NAME" in shown
    assert f"{path.stem} - " in shown
    assert [] == [line for line in shown.splitlines() if len(line) > 80]
    assert [] == re.findall(r"[`…×]|\\f|\\-", shown)


# -- completion -------------------------------------------------------------------------------------------------------


def test_there_is_a_completion_of_each_program_for_each_shell() -> None:
    """Under the names by which the shells look for them."""
    assert [*VERBS] == [path.name for path in BASH]
    assert sorted(f"_{program}" for program in VERBS) == [path.name for path in ZSH]
    assert sorted(f"{program}.fish" for program in VERBS) == [path.name for path in FISH]


SHELLS = [(shell, path) for shell, paths in (("bash", BASH), ("zsh", ZSH), ("fish", FISH)) for path in paths]


@pytest.mark.parametrize(("shell", "path"), SHELLS, ids=lambda each: getattr(each, "name", each))
def test_the_shell_can_read_it(shell: str, path: Path) -> None:
    """Syntax alone."""
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    done = run(shell, "-n", path)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


#: What is typed, and what is offered; the last word is the one to complete.
OFFERED: tuple[tuple[str, list[str]], ...] = (
    ("ec2ident ", ["show", "verify", "evidence", "region", "help"]),
    ("ec2ident --expl", ["--explain"]),
    ("ec2ident --level ", ["hint", "claim", "document", "proof", "bound"]),
    ("ec2ident show --level b", ["bound"]),
    ("ec2ident region cn", ["cn-north-1", "cn-northwest-1"]),
    ("ec2ident region eu-west-1 e", []),
    ("ec2ident help ev", ["evidence"]),
    ("ec2ident-agent p", ["plan"]),
    ("ec2ident-agent plan --dry", []),
    ("ec2ident-agent apply --dry", ["--dry-run"]),
    ("ec2ident-agent apply --sc", ["--scheme"]),
    ("ec2ident-agent apply --scheme ", ["by-source", "split"]),
    ("ec2ident-agent apply --scheme = s", ["split"]),
    ("ec2ident-agent apply --table 100 --js", ["--json"]),
    ("ec2ident-agent apply l", ["lo"]),
    ("ec2ident-agent apply eth9 l", ["lo"]),
    ("ec2ident-agent --wait 3 app", ["apply"]),
    ("ec2ident-agent overlay ", ["add", "del"]),
    ("ec2ident-agent overlay add 192.168.10.10 --device l", ["lo"]),
    ("ec2ident-agent overlay add ", []),
    ("ec2ident-agent hook ifup", ["ifupdown"]),
    ("ec2ident-agent hook ifupdown l", ["lo"]),
    ("ec2ident-agent hook ifupdown lo l", []),
    ("ec2ident-failover r", ["route", "release"]),
    ("ec2ident-failover route ", ["status", "show", "ensure", "delete"]),
    ("ec2ident-failover route ensure ", ["db", "web"]),
    ("ec2ident-failover route ensure --keep", ["--keep-check"]),
    ("ec2ident-failover route show --exp", []),
    ("ec2ident-failover takeover --keep", []),
    ("ec2ident-failover takeover w", ["web"]),
    ("ec2ident-failover takeover web ", []),
    ("ec2ident-failover callback ", ["patroni", "repmgr"]),
    ("ec2ident-failover callback patroni d", ["db"]),
    ("ec2ident-failover policy --for r", ["route\\ delete"]),
    ("ec2ident-failover bind --corporate --listen 10.0.0.2 --por", ["--port"]),
    ("ec2ident-failover help dns w", ["wait"]),
)
SERVICES = "[service.db]\n[service.db.route]\n[service.web]\n[service.$(touch hacked)]\n[[service.`id`]]\n"


@pytest.fixture
def services(tmp_path: Path) -> str:
    """A failover.toml with two services and names that a careless completion would run."""
    path = tmp_path / "failover.toml"
    path.write_text(SERVICES, encoding="utf-8")
    return str(path)


def bash(program: str, script: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a script in bash that has read the completion of a program."""
    start = 'source "$1"; shift; '
    return run(
        "bash", "--norc", "-c", start + script, "bash", SHARE / f"bash-completion/completions/{program}", *words, **more
    )


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(("typed", "offered"), OFFERED, ids=[typed for typed, _ in OFFERED])
def test_bash_offers_what_fits(typed: str, offered: list[str], services: str) -> None:
    """As readline calls it: the words in COMP_WORDS, the answer in COMPREPLY."""
    program, *_ = words = typed.split(" ")
    function = "_" + program.replace("-", "_")
    script = (
        f'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); {function}; printf "%s\\n" "${{COMPREPLY[@]}}"; complete -p $1'
    )

    done = bash(program, script, *words, EC2IDENT_FAILOVER_CONFIG=services)
    *found, registered = done.stdout.splitlines()

    assert (0, "", f"complete -F {function} {program}") == (done.returncode, done.stderr, registered)
    assert offered == [each for each in found if each]


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_file_names_with_spaces(tmp_path: Path) -> None:
    """Each is one answer; directories alone where a directory is asked for."""
    (tmp_path / "a b").mkdir()
    (tmp_path / "a c.toml").touch()
    script = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ec2ident_agent; printf "%s\\n" "${COMPREPLY[@]}"'

    files = bash("ec2ident-agent", script, "ec2ident-agent", "plan", "--config", f"{tmp_path}/a")
    directories = bash("ec2ident-agent", script, "ec2ident-agent", "plan", "--state-dir", f"{tmp_path}/a")

    assert {f"{tmp_path}/a b", f"{tmp_path}/a c.toml"} == {*files.stdout.splitlines()}
    assert [f"{tmp_path}/a b"] == directories.stdout.splitlines()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_never_runs_a_name_of_the_node(tmp_path: Path) -> None:
    """An interface may be named $(reboot), which `compgen -W` would run; the answer is quoted for the command line."""
    script = 'cd "$1"; _ec2ident_agent_add "" < <(printf "%s\\n" "\\$(touch hacked)"); printf "%s\\n" "${COMPREPLY[@]}"'

    done = bash("ec2ident-agent", script, str(tmp_path))

    assert (0, "", "\\$\\(touch\\ hacked\\)\n") == (done.returncode, done.stderr, done.stdout)
    assert [] == [*tmp_path.iterdir()]


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
@pytest.mark.parametrize(("typed", "offered"), OFFERED, ids=[typed for typed, _ in OFFERED])
def test_fish_offers_the_same(typed: str, offered: list[str], services: str, tmp_path: Path) -> None:
    """`complete -C` asks as the tabulator key does."""
    program = typed.partition(" ")[0]
    typed = typed.replace(" = ", " ")
    path = SHARE / f"fish/vendor_completions.d/{program}.fish"

    done = run(
        *("fish", "-c", 'cd $argv[3]; source $argv[1]; complete -C "$argv[2]"', str(path), typed, str(tmp_path)),
        EC2IDENT_FAILOVER_CONFIG=services,
        HOME=str(tmp_path),
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert {each.replace("\\", "") for each in offered} == {
        line.partition("\t")[0] for line in done.stdout.splitlines()
    }
