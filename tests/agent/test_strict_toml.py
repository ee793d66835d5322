"""Configuration files of both programs: which file is trusted, and that any content ends in one line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ec2ident_agent import cli, config_file, strict_toml
from ec2ident_agent.errors import AgentError, ConfigError, RefusedError, UnknownError
from ec2ident_agent.failover import cli as failover_cli
from ec2ident_agent.failover import settings

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def read_agent(path: Path) -> object:
    uids = {0, os.geteuid()}
    return config_file.load(str(path), required=True, uids=uids, cache=None, now=4e9)


def read_failover(path: Path) -> object:
    tables = settings.load(str(path), required=True)
    return settings.read(tables, lambda place: f"{tables.where(*place.split('.'))}: {place}")


Read = Callable[[Path], object]


@pytest.fixture(params=[read_agent, read_failover], ids=["agent", "failover"])
def read(request: pytest.FixtureRequest) -> Read:
    """One of the two readers."""
    found: Read = request.param
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "x.toml"


def said(read: Read, path: Path, kind: type[AgentError]) -> str:
    """The error's text, which is one line and begins with the file."""
    with pytest.raises(AgentError) as wrong:
        read(path)
    assert isinstance(wrong.value, kind)
    text = str(wrong.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert len(text) < 400 + len(str(path))
    return text.removeprefix(str(path))


# -- the file ---------------------------------------------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("make", "what"), [(pipe, "a pipe"), (directory, "a directory"), (listener, "a socket"), (device, "a device")]
)
def test_only_a_regular_file_is_read(read: Read, open_path: Path, make: Callable[[Path], None], what: str) -> None:
    """A pipe without a writer is not waited for, and a device is not opened, because opening one may have an effect."""
    path = open_path / "x.toml"
    make(path)

    assert f": {what}, not a regular file" == said(read, path, ConfigError)


def test_a_pipe_that_replaces_the_file_is_not_waited_for(
    read: Read, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the path and its opening another process may replace the file."""
    regular = os.stat(__file__)
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda _: regular)

    assert ": a pipe, not a regular file" == said(read, path, ConfigError)


def test_a_missing_file_that_was_named_is_an_error(read: Read, path: Path) -> None:
    """An empty configuration in its place would take everything away."""
    assert ": no such file: create it, or name another one with --config" == said(read, path, ConfigError)


@pytest.mark.parametrize("required", [True, False])
def test_a_dangling_link_is_not_a_missing_file(path: Path, required: bool) -> None:
    """The file system that it leads to may not be mounted yet: that is not a wish for no configuration."""
    path.symlink_to("elsewhere")

    with pytest.raises(ConfigError, match="a symbolic link to elsewhere, which does not exist"):
        settings.load(str(path), required=required)
    with pytest.raises(ConfigError, match="a symbolic link to elsewhere, which does not exist"):
        config_file.load(str(path), required=required, uids={0}, cache=None, now=4e9)


def test_a_link_is_followed_to_the_file_that_counts(read: Read, path: Path, tmp_path: Path) -> None:
    """NixOS, stow and Kubernetes install configuration with links; the file at the end is checked."""
    real = tmp_path / "real"
    real.write_text("")
    real.chmod(0o644)
    path.symlink_to(real)
    read(path)

    real.chmod(0o666)
    assert "other users may write it" in said(read, path, RefusedError)


def test_a_loop_of_links_could_not_be_read(read: Read, path: Path) -> None:
    """Could not be read is not the same as missing."""
    path.symlink_to(path.name)

    assert ": Too many levels of symbolic links" == said(read, path, UnknownError)


@pytest.mark.parametrize("name", ["x.toml/y", "n" * 300])
def test_a_path_that_cannot_be_walked_could_not_be_read(read: Read, path: Path, name: str) -> None:
    """A file where a directory is expected, and a name that is too long."""
    path.write_text("")

    said(read, path.parent / name, UnknownError)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o622, 0o777])
def test_a_file_that_other_users_may_write_is_refused(read: Read, path: Path, mode: int) -> None:
    """Its writer decides about this node's network, or names the role and endpoint that moves a service."""
    path.write_text("")
    path.chmod(mode)

    expected = f": other users may write it (mode {mode:04o}): chmod go-w {path}"
    assert expected == said(read, path, RefusedError)


@ROOT
def test_a_file_of_another_user_is_refused(read: Read, path: Path) -> None:
    """Its owner may write it at any time, whatever its mode is now."""
    path.write_text("")
    path.chmod(0o444)
    os.chown(path, 1234, 0)

    assert f": owned by uid 1234, not by root: chown root {path}" == said(read, path, RefusedError)


@pytest.fixture
def public(open_path: Path) -> Iterator[Path]:
    """A path in a directory that any user may enter; afterwards the process is root's again."""
    yield open_path / "x.toml"
    os.seteuid(os.getuid())


@ROOT
@pytest.mark.parametrize("owner", [0, 1234])
def test_an_ordinary_user_reads_own_files_and_those_of_root(read: Read, public: Path, owner: int) -> None:
    """Neither of them changes behind the user's back."""
    public.write_text("")
    public.chmod(0o644)
    os.chown(public, owner, 0)
    os.seteuid(1234)

    read(public)


@ROOT
def test_an_ordinary_user_does_not_read_a_third_ones_file(read: Read, public: Path) -> None:
    """The text says who may own it."""
    public.write_text("")
    public.chmod(0o644)
    os.chown(public, 4321, 0)
    os.seteuid(1234)

    assert ": owned by uid 4321, not by root or uid 1234" in said(read, public, RefusedError)


@ROOT
def test_a_file_that_may_not_be_read_is_unknown(read: Read, public: Path) -> None:
    """And the error names the user who may not."""
    public.write_text("")
    public.chmod(0o600)
    os.seteuid(1234)

    assert ": Permission denied; uid 1234 may not read it" == said(read, public, UnknownError)


# -- its bytes --------------------------------------------------------------------------------------------------------

HUGE = b"9" * 5000


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"#" * (strict_toml.LIMIT + 1), ": larger than 1048576 bytes"),
        (b"# fine\n# \xff\n", ":2: not UTF-8 (byte 0xff): save it as UTF-8"),
        ("# fine\n".encode("utf-16"), ":1: not UTF-8 (byte 0xff): save it as UTF-8"),
        (b"\xef\xbb\xbf# fine\n", ":1: begins with a byte order mark: save it as UTF-8 without one"),
        (b"a = 1\nb = 'x\0y'\n", ":2: found invalid character '\\x00' (at line 2"),
        (b"\0" * 100, ":1: "),
        (b"a = 1\nb = " + HUGE, ":2: a number of 5000 digits (at most 4300)"),
        (b"a = 1\nb = " + b"1_" * 500_000, ":2: a number of 1000000 digits"),
        (b"a = 1\nb = 1." + HUGE, ":2: a number of 5000 digits"),
        (b"a = 0x" + b"f" * 5000, ":1: a: an integer of 20000 bits (TOML allows 64)"),
        (b"a = [1, 9223372036854775808]", ":1: a.2: an integer of 64 bits"),
        (b"a = " + b"[" * 100_000, ""),
        (b"a = " + b"{a = " * 5000, ""),
        (b"\n[" + b"a." * 100_000 + b"a]\n", ":2: nested too deeply (at most 16 levels)"),
        (b"a." * 20_000 + b"a = 1\n", ":1: nested too deeply"),
        (b"'a'." * 20_000 + b"a = 1\n", ":1: nested too deeply"),
        (b"[" + b"a." * 10 + b"a]\n" + b"b." * 10 + b"b = 1\n", ":2: nested too deeply"),
        (b"a = 1\na = 2\n\n", ":2: cannot overwrite a value"),
        (b"[interface]\n[interface]\n", ":2: cannot declare ('interface',) twice"),
        (b"[service.db]\n[service.db]\n", ":2: cannot declare"),
        (b"a = [1,\n2,\n", ":2: "),
        (b"a = '''\n\n", ":1: expected \"'''\" (at end of document)"),
        (b"a\n", ":1: expected '='"),
        (b"a = 1\rb = 2\n", ":1: "),
        (b'"a\\nb" = 1\n', ":1: key 'a\\nb': more than one line"),
        (b"k" * 300 + b" = 1\n", ":1: key 'kkk"),
        (b"a = 2024-13-45\n", ":1: "),
        (b'a = "\\uD800"\n', ":1: "),
    ],
)
def test_content_of_any_kind_ends_in_one_line(read: Read, path: Path, data: bytes, what: str) -> None:
    """With the line where TOML is broken, else the key; never a traceback, on any Python.

    Python 3.9 parses a number of a million digits for minutes; repr of an integer with more than 4,300 digits raises
    ValueError from 3.11 on, and repr of deeply nested tables RecursionError.
    """
    path.write_bytes(data)
    path.chmod(0o600)

    text = said(read, path, ConfigError)
    assert text.startswith(what)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"[interface.eth1]\ntable = '%s'" % (b"x" * 100_000), "table"),
        (b"[interface.eth1]\nsubnet = %s" % (b"[" * 10 + b"]" * 10), "subnet"),
        (b"[interface.eth1]\nscheme = '%s'" % (b"x" * 100_000), "scheme"),
    ],
)
def test_a_long_value_is_cut_in_the_agents_message(path: Path, data: bytes, key: str) -> None:
    """The line names the value, and stays a line."""
    path.write_bytes(data)
    path.chmod(0o600)

    assert f"interface.eth1: {key}" in said(read_agent, path, ConfigError)


@pytest.mark.parametrize("data", [b"region = %s", b"[service.db]\noverlay = [%s]", b"deadline = '%s'"])
def test_a_long_value_is_cut_in_failovers_message(path: Path, data: bytes) -> None:
    """The same in the other program."""
    path.write_bytes(data % (b"9" * 18 + b", 9" * 1000 if b"[%s]" in data else b"1"))
    path.chmod(0o600)

    said(read_failover, path, ConfigError)


def test_the_largest_integers_of_toml_are_values(path: Path) -> None:
    """64 bits with a sign, and not one more."""
    low, high = -(2**63), 2**63 - 1

    assert {"a": low, "b": high} == strict_toml.parse("f", f"a = {low}\nb = {high}".encode())
    for beyond in (low - 1, high + 1):
        with pytest.raises(ConfigError, match="TOML allows 64"):
            strict_toml.parse("f", f"a = {beyond}".encode())


def test_as_many_digits_as_python_takes_are_not_refused_as_text() -> None:
    """An external id is digits, up to 1,224 of them; 4,300 is Python's own limit for a number."""
    digits = "9" * strict_toml.DIGITS

    assert {"a": digits} == strict_toml.parse("f", f"a = '{digits}'".encode())


def test_dots_in_values_and_comments_are_not_levels() -> None:
    """A list of addresses on one line, a name for reverse lookups, and a ruler."""
    addresses = [f"10.0.0.{number}" for number in range(100)]
    name = ".".join("0123456789abcdef" * 2) + ".ip6.arpa"
    text = f"# {'.' * 500}\na = {addresses}\nb = '{name}' # {'.' * 500}\nc = {[1.5] * 100}\n"

    assert {"a": addresses, "b": name, "c": [1.5] * 100} == strict_toml.parse("f", text.encode())


FILE = """\
region = "eu-west-1"   # 1

[service.db]           # 3
overlay = [
    "192.168.10.5",
    "192.168.10.6",    # 6
]
dns = {zone = "Z1", name = "db"}
text = '''
[service.web]
'''
[service.web.eni]      # 12
"id" = "eni-1"
[[overlay]]
[[overlay]]            # 15
address = "10.0.0.1"
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("region",), 1),
        (("service", "db"), 3),
        (("service", "db", "overlay"), 7),
        (("service", "db", "overlay", 1), 7),
        (("service", "db", "dns", "name"), 8),
        (("service", "db", "text"), 11),
        (("service", "web"), 12),
        (("service", "web", "eni"), 12),
        (("service", "web", "eni", "id"), 13),
        (("overlay", 0), 14),
        (("overlay", 1), 15),
        (("overlay", 1, "address"), 16),
    ],
)
def test_each_value_has_its_line(place: tuple[str | int, ...], line: int) -> None:
    """The one with which it is complete, however it is written: in an inline table, over lines, with a quoted key."""
    assert f"f:{line}" == strict_toml.parse("f", FILE.encode()).where(*place)


@pytest.mark.parametrize("place", [(), ("nothing",), ("region", "x"), ("overlay", 2)])
def test_what_is_not_there_has_no_line(place: tuple[str | int, ...]) -> None:
    """The file alone begins the error then."""
    assert "f" == strict_toml.parse("f", FILE.encode()).where(*place)


def test_the_line_is_not_searched_for_without_end() -> None:
    """A long value over many lines, and a long file: the error is told without the line."""
    many = "a = [\n" + "1,\n" * 10_000 + "]\nb = 1\n"
    assert strict_toml.parse("f", many.encode()).where("b") in ("f", "f:10003")
    assert "f" == strict_toml.parse("f", ("#\n" * strict_toml.SEARCHED + "b = 1\n").encode()).where("b")


# -- through the programs ---------------------------------------------------------------------------------------------


def run_agent(path: Path) -> int:
    return cli.main(["plan", "--config", str(path), "--state-dir", str(path.parent / "state")])


def run_failover(path: Path) -> int:
    return failover_cli.main(["policy", "--config", str(path)], environ={"AWS_EC2_METADATA_DISABLED": "true"})


@pytest.mark.parametrize(("program", "run"), [("ec2ident-agent", run_agent), ("ec2ident-failover", run_failover)])
@pytest.mark.parametrize(
    ("make", "code"),
    [
        (pipe, 2),
        (lambda path: path.write_bytes(b"a = " + HUGE), 2),
        (lambda path: (path.write_bytes(b""), path.chmod(0o666)), 4),
        (lambda path: path.symlink_to(path.name), 3),
    ],
    ids=["pipe", "number", "mode", "loop"],
)
def test_both_programs_say_the_same(
    program: str,
    run: Callable[[Path], int],
    make: Callable[[Path], object],
    code: int,
    path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line with the program's name, and 2 for wrong content, 4 for a file that is not safe, 3 for an unread one."""
    make(path)

    assert code == run(path)
    out, err = capsys.readouterr()
    assert ("", 1) == (out, err.count("\n"))
    assert err.startswith(f"{program}: {path}:")
