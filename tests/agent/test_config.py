"""The configuration: strict, with one line that says where and what."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import pytest

from ec2ident_agent import config_file
from ec2ident_agent.config import parse
from ec2ident_agent.config_file import load
from ec2ident_agent.errors import ConfigError
from ec2ident_agent.profile import Config, Overlay, Section
from ec2ident_agent.state import statefile
from tests.lab.recipe import CONFIGURATION

ME = {os.geteuid()}
LATER = 4e9


def read(path: Path, *, cache: Path | None = None, now: float = LATER, uids: Collection[int] = ME) -> Config:
    return load(str(path), required=True, uids=uids, cache=str(cache) if cache else None, now=now)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(CONFIGURATION)
    path.chmod(0o644)
    return path


def test_the_published_recipe(file: Path) -> None:
    """Every key of it."""
    assert Config(
        (Section("eth1", "", ("10.0.1.0/24",), ("10.0.1.1",), 100, "MYHA", 100),),
        (Overlay("192.168.10.10/32", "eth0", "eth0:1"),),
    ) == read(file)


def test_every_key_is_optional() -> None:
    """What is not said comes from facts; the router of a subnet is its first address."""
    assert Config((Section("eth1"),)) == parse("f", b"[interface.eth1]\n")
    assert ("10.0.1.1",) == parse("f", b'[interface.eth1]\nsubnet = "10.0.1.0/24"\n').sections[0].routers


def test_both_families_and_a_mac() -> None:
    """A list where there is more than one, canonical whatever was written; an overlay's length may be left out."""
    text = b"""
    [interface.second]
    mac = "06:AB:cd:00:00:01"
    subnet = ["10.0.1.0/24", "2600:1F14:0:0::/64"]
    router = ["10.0.1.1", "fe80::1"]
    [[overlay]]
    address = "FD00::0:1"
    device = "eth0"
    """
    found = parse("f", text)

    assert ("06:ab:cd:00:00:01", ("10.0.1.0/24", "2600:1f14::/64")) == (
        found.sections[0].mac,
        found.sections[0].subnets,
    )
    assert "fd00::1/128" == found.overlays[0].address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[interface.eth1\n", r"f:1: .*"),
        ("\n\n[interface.eth1]\nsubnet = \n", r"f:4: invalid value \(at line 4, column 10\)"),
        ("x = 1\nx = 2\n", r"f:2: "),
        ("a = [" * 2000, r"f"),
        ("colour = 1", r"f:1: colour: no such key \(known: interface, overlay\)"),
        ("overlays = 1", r"f:1: overlays: no such key \(did you mean overlay\?\)"),
        ("interface = 3", r"f:1: interface: write a table"),
        ("[interface]\neth1 = 3", r"f:1: interface: write a table"),
        ("overlay = 3", r"f:1: overlay: write \[\[overlay\]\]"),
        ("[overlay]\naddress = '10.9.9.9'", r"f:1: overlay: write \[\[overlay\]\]"),
        ("[interface.eth1]\ntabel = 100", r"f:2: interface\.eth1: tabel: no such key \(did you mean table\?\)"),
        ("[interface.eth1]\nmru = 100", r"f:2: interface\.eth1: mru: no such key"),
        ("[interface.eth1]\ntable = '100'", r"interface\.eth1: table = '100': not a number"),
        ("[interface.eth1]\ntable = true", r"table = True: not a number"),
        ("[interface.eth1]\ntable = 0", r"table = 0: not a number from 1"),
        ("[interface.eth1]\ntable = 4294967296", r"not a number from 1 to 4294967295"),
        ("[interface.eth1]\ntable = 254", r"the kernel's own table main"),
        ("[interface.eth1]\ntable = " + "9" * 5000, r"^f:2: "),
        ("[interface.eth1]\npriority = 0", r"priority = 0: not a number from 1"),
        ("[interface.eth1]\npriority = 32766", r"priority"),
        ("[interface.eth1]\nsubnet = '10.0.1.5/24'", r"interface\.eth1: subnet: 10\.0\.1\.5/24 has host bits set"),
        ("[interface.eth1]\nsubnet = '10.0.1.0'", r"prefix length is missing"),
        ("[interface.eth1]\nsubnet = '0.0.0.0/0'", r"that is everything"),
        ("[interface.eth1]\nsubnet = 10", r"subnet = 10: not a text"),
        ("[interface.eth1]\nsubnet = []", r"subnet = \[\]: empty"),
        ("[interface.eth1]\nrouter = 'router'", r"router: router: not an IP address"),
        ("[interface.eth1]\nrouter = '224.0.0.1'", r"not the address of one host"),
        ("[interface.eth1]\nrouter = 'fe80::1%eth1'", r"not the address of one host"),
        ("[interface.eth1]\nsubnet = '10.0.1.0/24'\nrouter = '10.0.2.1'",
         r"f:1: eth1: router 10\.0\.2\.1 is not in its subnet 10\.0\.1\.0/24"),
        ("[interface.eth1]\nsubnet = '10.0.1.0/24'\nrouter = ['10.0.1.1', '10.0.1.2']", r"more than one router"),
        ("[interface.eth1]\nscheme = 'both'", r"scheme = 'both': not a scheme \(known: by-source, split\)"),
        ("[interface.eth1]\nmac = '06:00'", r"mac = '06:00': not a MAC address"),
        ("[interface.--all]\nmac = '06:00:00:00:00:01'", r"'interface.--all': not a name"),
        ("[interface.eth1]\ntable_name = 'my table'", r"not a table's name"),
        ("[interface.eth1]\ntable_name = 'main'", r"not a table's name"),
        ("[interface.eth1]\ntable_name = '100'", r"not a table's name"),
        ("[interface.'a b']\n", r"'a b' is not the name of a network interface"),
        ("[interface.'a/b']\n", r"'a/b' is not the name of a network interface"),
        ("[interface.'a:1']\n", r"'a:1' is not the name of a network interface"),
        ("[interface.'..']\n", r"'\.\.' is not the name of a network interface"),
        (f"[interface.{'a' * 128}]\n", r"is not the name of a network interface"),
        ("[interface.'" + 64 * "\u00fc" + "']\n", r"is not the name of a network interface"),
        ("[interface.eth1]\ntable_name = 'A'\n[interface.eth2]\ntable_name = 'A'",
         r"f: table_name A is claimed by eth1 and by eth2"),
        ("[interface.a]\nmac = '06:00:00:00:00:01'\n[interface.b]\nmac = '06:00:00:00:00:01'", r"mac .* is claimed"),
        ("[[overlay]]\naddress = '192.168.10.10'", r"overlay 192\.168\.10\.10: device is missing"),
        ("[[overlay]]\ndevice = 'eth0'", r"overlay: address is missing"),
        ("[[overlay]]\naddress = '192.168.10.0/24'\ndevice = 'eth0'", r"an overlay address is a /32"),
        ("[[overlay]]\naddress = 'fd00::1/64'\ndevice = 'eth0'", r"an overlay address is a /128"),
        ("[[overlay]]\naddress = '192.168.10.10'\ndevice = 'eth0'\nlabel = 'eth0:abcdefghijk'",
         r"label 'eth0:abcdefghijk' is longer than 15 characters"),
        ("[[overlay]]\naddress = '192.168.10.10'\ndevice = 'eth0'\nlabel = 'eth1:1'",
         r"label 'eth1:1' does not begin with its device: eth0:NAME"),
        ("[[overlay]]\naddress = '192.168.10.10'\ndevice = 'eth0'\nlabel = 'eth0:'", r"does not begin with its device"),
        ("[[overlay]]\naddress = '192.168.10.10'\ndevice = 'eth0'\nlabel = 'eth0: 1'", r"does not begin"),
        ("[[overlay]]\naddress = 'fd00::1'\ndevice = 'eth0'\nlabel = 'eth0:1'", r"an IPv6 address has no label"),
        ("[[overlay]]\naddress = '10.9.9.9'\ndevice = 'e'\n[[overlay]]\naddress = '10.9.9.9'\ndevice = 'f'", r"twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(text: str, says: str) -> None:
    """With the file, the line where TOML itself is broken, the value that was written and what is expected."""
    with pytest.raises(ConfigError, match=says) as wrong:
        parse("f", text.encode())

    assert "\n" not in str(wrong.value)
    assert str(wrong.value).startswith("f:")


def test_a_missing_file_is_an_empty_configuration_unless_it_was_named(tmp_path: Path) -> None:
    """The default file may be missing; one that was asked for may not."""
    missing = str(tmp_path / "none.toml")

    assert Config() == load(missing, required=False, uids=ME, cache=None, now=LATER)
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        load(missing, required=True, uids=ME, cache=None, now=LATER)


def test_what_was_read_once_is_not_parsed_again(file: Path, tmp_path: Path) -> None:
    """As long as the very same file is there: the second time comes from the cache."""
    cache = tmp_path / "cache"
    routes = '["10.50.0.0/16", "10.60.0.0/16 via 10.0.1.9 mtu 1400 advmss 1300"]'
    file.write_text(CONFIGURATION.replace("priority", f"mtu = 1500\nadvmss = 1460\nroutes = {routes}\npriority"))
    first = read(file, cache=cache)
    assert (2, 1500) == (len(first.sections[0].routes), first.sections[0].mtu)
    kept = cache.read_bytes().replace(b"192.168.10.10", b"192.168.10.99")

    assert first == read(file, cache=cache)
    cache.write_bytes(repacked(kept))
    assert "192.168.10.99/32" == read(file, cache=cache).overlays[0].address


def repacked(data: bytes) -> bytes:
    rows = [tuple(line.split("\t")) for line in data.decode().splitlines()[1:-1]]
    return statefile.pack(config_file.CACHE, config_file.CACHE_VERSION, rows)


def test_a_changed_file_is_read_anew(file: Path, tmp_path: Path) -> None:
    """Another size, another time or another inode: another file."""
    cache = tmp_path / "cache"
    read(file, cache=cache)
    file.write_text(CONFIGURATION.replace("MYHA", "OTHR"))
    assert "OTHR" == read(file, cache=cache).sections[0].table_name

    stat = file.stat()
    other = file.with_suffix(".new")
    other.write_text(CONFIGURATION.replace("MYHA", "THRD"))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(file)
    assert "THRD" == read(file, cache=cache).sections[0].table_name


def test_a_file_that_is_still_warm_is_not_kept(file: Path, tmp_path: Path) -> None:
    """Within one tick of the clock it could change once more without looking changed."""
    cache = tmp_path / "cache"

    read(file, cache=cache, now=file.stat().st_mtime + 1)
    assert not cache.exists()
    read(file, cache=cache, now=file.stat().st_mtime + 3)
    assert cache.exists()


@pytest.mark.parametrize("damage", [b"", b"x", b"ec2ident-config 1\nend 0 00000000\n", b"ec2ident-config 2\n"])
def test_a_damaged_cache_is_not_an_answer(file: Path, tmp_path: Path, damage: bytes) -> None:
    """It is a cache: the file itself is read."""
    cache = tmp_path / "cache"
    cache.write_bytes(damage)

    assert "MYHA" == read(file, cache=cache).sections[0].table_name


def test_a_cache_that_others_could_write_is_not_an_answer(file: Path, tmp_path: Path) -> None:
    """It would be a way round the configuration's own mode."""
    cache = tmp_path / "cache"
    read(file, cache=cache)
    cache.write_bytes(repacked(cache.read_bytes().replace(b"MYHA", b"EVIL")))
    cache.chmod(0o666)

    assert "MYHA" == read(file, cache=cache).sections[0].table_name


def test_the_old_word_for_by_source_is_still_understood() -> None:
    """Configurations that were written before the first release may say `seed`."""
    (section,) = parse("agent.toml", b'[interface.eth1]\nscheme = "seed"\n').sections

    assert "by-source" == section.scheme
