"""The main job, told step by step in a simulated VPC. Every line is checked; exit code 1 when one does not hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from .isolate import isolate
from .recipe import CONFIGURATION
from .vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .namespace import Namespace

GENUINE = Path(__file__).parent.parent / "vectors" / "real" / "cloudinit-us-east-2-2018"
OVERLAY = "192.168.10.10"


class Story:
    """Says each step on a line and keeps count of those that did not hold."""

    def __init__(self) -> None:
        self.failed = 0

    def chapter(self, title: str) -> None:
        print(f"\n{title}")

    def step(self, held: bool, text: str, *shown: str) -> None:
        self.failed += not held
        print(f"  {'ok  ' if held else 'FAIL'}  {text}", flush=True)
        for line in shown:
            print(f"        {line}", flush=True)


def main() -> int:
    isolate()
    story = Story()
    with ExitStack() as inside:
        work = Path(inside.enter_context(tempfile.TemporaryDirectory(prefix="ec2ident-demo-")))
        prove(story, work)
        vpc = inside.enter_context(Vpc())
        route(story, vpc, Agent(vpc.node, work))
        move(story)
    print(f"\n{'All of it holds.' if not story.failed else f'{story.failed} of the steps did not hold.'}")
    return 1 if story.failed else 0


def prove(story: Story, work: Path) -> None:
    """A genuine document, a forged one, and this machine."""
    story.chapter("Can a machine prove that it is EC2?")
    done = run("ec2ident", "verify", str(GENUINE))
    story.step(done.returncode == 0, "a document that AWS signed is proved, offline:", *lines(done.stdout))

    forged = work / "forged"
    shutil.copytree(GENUINE, forged)
    document = forged / "document.json"
    document.write_bytes(document.read_bytes().replace(b"us-east-2", b"us-east-1", 1))
    done = run("ec2ident", "verify", str(forged))
    refused = done.returncode == 1 and not done.stdout
    story.step(refused, "the same document with one byte changed is refused:", *lines(done.stderr))

    done = run("ec2ident", "--no-network")
    story.step(done.returncode in (0, 1, 3), "and this machine?", *lines(done.stdout))


class Agent:
    """`ec2ident-agent` in the node of the simulated VPC, with files of its own."""

    def __init__(self, node: Namespace, work: Path) -> None:
        self.node = node
        self.config = work / "agent.toml"
        self.config.write_text(CONFIGURATION, encoding="ascii")
        self.config.chmod(0o644)
        self.state = work / "state"

    def __call__(self, *verb: str) -> subprocess.CompletedProcess[str]:
        return self.node.run("ec2ident-agent", *verb, "--config", str(self.config), "--state-dir", str(self.state))


def route(story: Story, vpc: Vpc, agent: Agent) -> None:
    """A hot-attached interface, an overlay address, drift and its repair, and the way back."""
    node, client = vpc.node, vpc.client
    story.chapter("A node with eth0, and an ENI attached while it runs")
    eth0, eth1 = vpc.enis["eth0"], vpc.attach("eth1")
    vpc.route(OVERLAY, "eth0")
    before = node.snapshot()
    story.step(client.ask(eth0.address), f"a client outside gets an answer from eth0's address {eth0.address}")
    story.step(
        not client.ask(eth1.address, timeout=0.5),
        f"but none from eth1's address {eth1.address}: it leaves by eth0, and is dropped",
    )
    story.step(
        not client.ask(OVERLAY, timeout=0.5),
        f"and none from the overlay address {OVERLAY}, which is routed to the node",
    )

    done = agent("apply")
    story.step(done.returncode == 0, "ec2ident-agent apply", *lines(done.stdout + done.stderr))
    story.step(client.ask(eth1.address), f"now eth1's address {eth1.address} answers")
    story.step(client.ask(OVERLAY), f"and so does the overlay address {OVERLAY}")
    done = agent("status")
    story.step(done.returncode == 0, "ec2ident-agent status: in order")

    story.chapter("Another program flushes the table")
    node.ip("route flush table 100")
    story.step(
        not client.ask(eth1.address, timeout=0.5),
        "ip route flush table MYHA: eth1's address is silent again, and nothing said so",
    )
    done = agent("status")
    story.step(done.returncode == 1, "ec2ident-agent status: drift, exit code 1", *lines(done.stdout))
    done = agent("apply")
    story.step(done.returncode == 0, "ec2ident-agent apply repairs it", *lines(done.stdout + done.stderr))
    story.step(client.ask(eth1.address), f"eth1's address {eth1.address} answers")

    story.chapter("And back")
    done = agent("revert", "--all")
    story.step(done.returncode == 0, "ec2ident-agent revert --all", *lines(done.stdout + done.stderr))
    story.step(before == node.snapshot(), "rules, routes and addresses are byte-equal to those before")


def move(story: Story) -> None:
    """A node loses its power, another one takes the service, and a client counts."""
    from tests.failover.region.addresses import OVERLAY as SERVICE
    from tests.failover.region.load import Load
    from tests.failover.region.region import command, region

    story.chapter("A service moves to another zone, and a client asks a thousand times a second")
    with region() as found:
        first, _, other = found.machines
        done = run(*command(first, "ec2ident-failover", "takeover", "overlay"))
        story.step(
            done.returncode == 0,
            f"ec2ident-failover takeover on {first.name}, in zone a",
            *lines(done.stdout or done.stderr),
        )
        story.step(found.who(SERVICE) == first.name, f"the client gets its answers from {first.name}")
        with Load(found.client.command, SERVICE) as client:
            time.sleep(0.5)
            since = time.monotonic()
            found.cut(first)
            # A cluster engine decides when; here it is this program.
            done = run(*command(other, "ec2ident-failover", "takeover", "overlay"))
            time.sleep(0.5)
        seen = client.seen
        story.step(seen.lost(since) > 0, f"{first.name} loses its power: requests are lost")
        story.step(
            done.returncode == 0,
            f"ec2ident-failover takeover on {other.name}, in zone b",
            *lines(done.stdout or done.stderr),
        )
        story.step(seen.owner() == other.name, f"the client gets its answers from {other.name}")
    # It differs from run to run.
    lost = f"{seen.lost(since)} of {len(seen.requests)} requests lost, first answer after {seen.first(since):.2f} s"
    print(f"        {lost}", file=sys.stderr)


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def lines(text: str) -> list[str]:
    return text.rstrip().splitlines()


if __name__ == "__main__":
    sys.exit(main())
