"""The commands for ec2ident-failover in README and the docs, typed as they stand, against the fake of the API.

Each block begins in a fresh region, in which the service `db` has a part of each kind and node 2 has them. Nothing is
changed on the machine: `--no-local`.
"""

from __future__ import annotations

import pytest

from ec2ident_agent import cli
from tests.agent.install.test_installer import make
from tests.blocks import TOP, Block, run_by

from .conftest import configuration
from .parts.test_assigned import ADDRESS, elastic, give

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from .fake import Fake

#: Commands that end with another exit code than 0: there is something to do, or the service was just released.
CODES = {
    "takeover db --dry-run": 1,
    "release db --dry-run": 1,
    "status db": 1,
    "status db --metrics": 1,
    "dns status db": 1,
}
#: The service of docs/bgp.md, which has no part of the API's.
ANNOUNCED = (TOP / "docs/bgp.md").read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
#: Where the node exporter of a Debian looks for metrics.
EXPORTER = "/var/lib/prometheus/node-exporter"
#: Verbs that change the node too.
LOCAL = ("takeover", "release")


def service(aws: Fake) -> str:
    """A service with a part of each kind, which node 2 has."""
    allocation, address = elastic(aws), give(aws, ADDRESS)
    tail = f"""
[service.db.eni]
id = "{aws.lab.service_eni}"
[service.db.private]
addresses = ["{address}"]
[service.db.eip]
allocation = "{allocation}"
[service.db.dns]
zone = "{aws.lab.zone}"
name = "db.awslab.mycompany.corp"
"""
    return configuration(aws, tail)


@pytest.mark.parametrize("block", run_by(__file__), ids=str)
def test_the_commands_of_a_block_do_what_they_say(
    block: Block, aws: Fake, run: Callable[..., Any], tmp_path: Path
) -> None:
    """One after the other, as printed: each is understood, and ends with the exit code that it should."""
    config = service(aws)
    root = make(tmp_path / "root", "debian").root

    for program, *words in block.commands():
        if program == "ec2ident-agent":
            assert 0 == cli.main([*words, "--root", root, "--program", "/opt/ec2ident/bin/ec2ident-agent"])
            continue
        assert "ec2ident-failover" == program
        words = words[: words.index(">")] if ">" in words else words
        plain = " ".join(word for word in words if not word.startswith("/"))
        words = [word.replace(EXPORTER, str(tmp_path)) for word in words]
        more = ["--no-local"] if words[0] in LOCAL else []
        code, lines, log = run(*words, *more, config=ANNOUNCED if words[0] == "bgp" else config)
        assert CODES.get(plain, 0) == code, (str(block), words, lines, log)


def test_there_are_blocks_to_run() -> None:
    """Of README, of the page about failover, and of that for operators."""
    assert {"README.md", "docs/failover.md", "docs/operators.md"} <= {block.page for block in run_by(__file__)}
