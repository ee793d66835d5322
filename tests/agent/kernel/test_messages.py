"""The requests that change the kernel: held byte for byte against pyroute2's own encoding, and loaded without the rest
of pyroute2.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ec2ident_agent.items import Address, Route, Rule, Step
from ec2ident_agent.kernel import messages
from ec2ident_agent.kernel.messages import Encoder, encode

if TYPE_CHECKING:
    from ec2ident_agent.items import Item

TOP = Path(__file__).parents[3]

#: Addresses that look like the header of an attribute, like the mark that finds the place of an address, and like zero.
ODD_4 = ["2.0.2.0", "8.0.2.0", "8.0.1.0", "0.8.0.2", "165.90.195.60", "0.0.0.0", "255.255.255.255", "10.0.1.4"]
ODD_6 = [
    "1400:200:1400:200:1400:200:1400:200",
    "::",
    "a55a:c33c:9669:f00f:b44b:d22d:8778:e11e",
    "fd00::1",
    "1400:100::",
]


def alike() -> list[Item]:
    """Many items of a few kinds; each kind has more than two, so that most are made from the others."""
    found: list[Item] = []
    for four in (*ODD_4, *(f"192.168.{number}.{number}" for number in range(9))):
        found += [Rule(f"{four}/{length}", 100, priority) for length in (24, 32) for priority in (100, 0)]
        found += [Rule(f"{four}/32", 70000, 1, "10.0.0.0/16"), Rule(f"{four}/32", 254, 9, "", 0)]
        found += [Address("eth1", f"{four}/32", label) for label in ("", "eth1:1")]
        found += [Address("eth2", f"{four}/24"), Route(f"{four}/32", "eth1", 100)]
        found += [Route(f"{four}/32", "eth1", 100, "10.0.1.1", 0, 1500, 1460)]
    for six in (*ODD_6, *(f"fd00::{number}" for number in range(2, 9))):
        found += [Rule(f"{six}/{length}", 100, 100) for length in (64, 128)]
        found += [
            Rule(f"{six}/128", 100, 7, "fd00::/8", 0),
            Address("eth1", f"{six}/128"),
            Address("eth2", f"{six}/64"),
        ]
    return [*found, Rule("", 100, 100, "10.0.0.0/8"), Rule("", 254, 5, "", 0)]


@pytest.mark.parametrize("verb", ["add", "del"])
def test_each_message_is_the_one_that_pyroute2_encodes(verb: str) -> None:
    """Most are made from another of their kind, and none differs in a byte from pyroute2's."""
    indexes, encoder = {"eth1": 3, "eth2": 0xA55AC33C - (1 << 31)}, Encoder()

    for sequence, item in enumerate(alike(), 1):
        step, index = Step(verb, item), indexes.get(getattr(item, "device", ""), 0)
        assert encode(step, index, sequence) == encoder(step, index, sequence), step


def test_of_many_messages_alike_pyroute2_encodes_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, and the second together with the one that finds the places of the address."""
    counted: list[Step] = []

    def counting(step: Step, index: int, sequence: int) -> bytes:
        counted.append(step)
        return encode(step, index, sequence)

    monkeypatch.setattr(messages, "encode", counting)
    encoder = Encoder()

    for number in range(200):
        encoder(Step("add", Rule(f"10.0.0.{number}/32", 100, 100)), 0, number)

    assert len(counted) <= 3


def test_kinds_that_never_come_again_take_no_more_room() -> None:
    """The watch runs for ever, and labels are part of a kind."""
    encoder = Encoder()

    for number in range(3 * messages.KINDS):
        encoder(Step("add", Address("eth1", "10.0.0.1/32", f"eth1:{number}")), 3, number)

    assert len(encoder._known) <= messages.KINDS


def run(code: str) -> str:
    """The output of a fresh interpreter that ran this."""
    top = [str(TOP), str(TOP / "agent")]
    code = f"import sys\nsys.path[:0] = {top}\nfrom ec2ident_agent.kernel import messages\n{textwrap.dedent(code)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_installed_pyroute2_gives_its_message_classes_alone() -> None:
    """If this fails, a new pyroute2 has moved something, and each first change costs 100 ms more: see `load_alone`."""
    code = """
        before = {*sys.modules}
        classes = messages.load_alone()
        print(*(each.__name__ for each in (classes.rule, classes.route, classes.address)))
        print("asyncio" in sys.modules, len({*sys.modules} - before) < 60)
        from ec2ident_agent.items import Route, Rule, Address, Step
        messages._loaded.append(classes)
        for item in (Route("10.0.0.0/8", "eth1", 100), Rule("10.0.0.0/8", 1, 1), Address("eth1", "10.0.0.1/32")):
            messages.encode(Step("add", item), 1, 1)
        print([name for name in sys.modules if name.partition(".")[0] == "pyroute2"])
        """
    assert ["fibmsg rtmsg ifaddrmsg", "False True", "[]"] == run(code).splitlines()


def test_a_program_that_imports_pyroute2_later_gets_all_of_it() -> None:
    """`Node` is used as a library too."""
    assert "True" == run("messages.load()\nimport pyroute2\nprint(callable(pyroute2.IPRoute))")


@pytest.mark.parametrize(
    "before",
    [
        "import pyroute2",
        "import threading; end = threading.Event(); threading.Thread(target=end.wait, daemon=True).start()",
        "import importlib.util; importlib.util.find_spec = lambda name: None",
        "import importlib.util; importlib.util.module_from_spec = lambda spec: type(sys)('pyroute2')",
    ],
    ids=["loaded already", "another thread", "not found", "moved"],
)
def test_where_the_classes_cannot_be_loaded_alone_all_of_pyroute2_is_loaded(before: str) -> None:
    """It is slower, and encodes the same."""
    code = f"""
        {before}
        print(messages.load_alone(), messages.load().rule.__name__, callable(sys.modules["pyroute2"].IPRoute))
        """
    assert "None fibmsg True" == run(code)
