"""How fast the question "is this EC2?" is answered, by us and by the peers in the same run, in network namespaces.

    detect.py            all tables; needs root and iproute2; about two minutes, nearly all of it the peers' waiting
    detect.py --quick    without the peers

Every client runs in a process of its own. `call` is the time of the call alone, with all that it imports by itself;
`process` is the whole process. Each figure is the best of the rounds, except what takes more than a second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP), str(Path(__file__).parent)]

import peers  # noqa: E402

#: The most that our "no" may take where packets are dropped, in seconds, and our "yes" from sysfs, in milliseconds.
NO_WITHIN = 0.35
LOCAL_WITHIN_MS = 2.0
#: How long a client is waited for, in seconds.
PATIENCE = 60.0
ROUNDS = 7

#: A genuine document that AWS signed: served in place of the service's own, it is a proof with the bundled keys.
GENUINE = TOP / "tests" / "vectors" / "real" / "teleport-us-west-2-2021"

NITRO = {
    "sys_vendor": "Amazon EC2",
    "bios_vendor": "Amazon EC2",
    "bios_version": "1.0",
    "board_vendor": "Amazon EC2",
    "chassis_vendor": "Amazon EC2",
    "chassis_asset_tag": "Amazon EC2",
}
OTHER = {"sys_vendor": "Hetzner", "product_name": "vServer", "bios_vendor": "Hetzner", "bios_version": "20171111"}


# What the clients do, each in a process of its own.


def ours(
    root: str, level: str = "CLAIM", endpoint: str = "", timeout: float = 1.0, imported: bool = False
) -> Callable[[], str]:
    """A call of `ec2ident.detect`."""
    import ec2ident

    if imported:
        from ec2ident import detect  # noqa: F401

    def ask() -> str:
        imds = ec2ident.Imds(timeout, endpoints=endpoint) if endpoint else None
        verdict = ec2ident.detect(level=ec2ident.Level[level], timeout=timeout, root=root, imds=imds)
        return f"{verdict.level.name} {verdict.reason}"

    return ask


def ec2_metadata(**_: str) -> Callable[[], str]:
    """A call of the package ec2-metadata."""
    from ec2_metadata import ec2_metadata

    return lambda: str(ec2_metadata.instance_id)


def cloud_detect(**_: str) -> Callable[[], str]:
    """A call of the package cloud-detect."""
    from cloud_detect import provider

    return lambda: str(provider())


def botocore(**_: str) -> Callable[[], str]:
    """A call of botocore's metadata client."""
    from botocore.utils import InstanceMetadataRegionFetcher

    return lambda: str(InstanceMetadataRegionFetcher().retrieve_region())


CLIENTS = {"ec2ident": ours, "ec2-metadata": ec2_metadata, "cloud-detect": cloud_detect, "botocore": botocore}


def child(client: str, options: dict[str, Any]) -> None:
    """Ask once, and print what came, how long it took, and which packets this namespace has ever sent."""
    repeat = options.pop("again", False)
    ask = CLIENTS[client](**options)
    began = time.perf_counter()
    try:
        answer = ask()
    except Exception as error:  # noqa: BLE001  a peer's error is its answer
        answer = type(error).__name__
    took = time.perf_counter() - began
    again = best(ask) if repeat else None
    heavy = sorted({"requests", "cryptography", "psutil"} & set(sys.modules))
    print(json.dumps({"answer": answer, "call": took, "again": again, "sent": sent(), "heavy": heavy}))


def best(ask: Callable[[], object]) -> float:
    """The shortest of 200 calls, in seconds."""
    took = []
    for _ in range(200):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return min(took)


def sent() -> int:
    """TCP segments and UDP datagrams that this namespace has sent, by the kernel's count (/proc/net/snmp, snmp6)."""
    lines = [line.split() for line in Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()]
    tables = {names[0]: dict(zip(names, values)) for names, values in zip(lines[::2], lines[1::2])}
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text(encoding="ascii").splitlines())
    tcp, udp = tables["Tcp:"], tables["Udp:"]
    return int(tcp["OutSegs"]) + int(tcp["RetransSegs"]) + int(udp["OutDatagrams"]) + int(six["Udp6OutDatagrams"])


# Where they do it.


class Result(NamedTuple):
    """What one client answered, in seconds; `sent` counts packets, `answer` is `-` when it did not come."""

    answer: str
    call: float
    process: float
    again: float
    sent: int
    heavy: list[str]


def run(namespace: Any, client: str, environ: dict[str, str] | None = None, **options: Any) -> Result:
    """Run one client in a process of its own inside the namespace."""
    python = sys.executable if client == "ec2ident" else peers.PYTHON
    argv = [python, __file__, "--client", client, "--options", json.dumps(options)]
    began = time.perf_counter()
    try:
        done = namespace.run(*argv, timeout=PATIENCE, env={**os.environ, **(environ or {}), "PYTHONPATH": str(TOP)})
    except subprocess.TimeoutExpired:
        return Result("-", PATIENCE, PATIENCE, 0.0, -1, [])
    process = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{client}: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Result(found["answer"], found["call"], process, found["again"] or 0.0, found["sent"], found["heavy"])


def measure(ground: Callable[[Any], None], client: str, rounds: int = ROUNDS, **options: Any) -> Result:
    """The best of some rounds, each in a namespace of its own, so that the kernel's caches and counters are fresh."""
    results: list[Result] = []
    for _ in range(rounds):
        with fresh() as namespace:
            ground(namespace)
            results.append(run(namespace, client, **options))
        if results[-1].call > 1:
            break
    return min(results, key=lambda result: result.call)


@contextmanager
def fresh() -> Iterator[Any]:
    """A new network namespace, removed at the end."""
    from tests.lab.namespace import Namespace, unique

    namespace = Namespace(unique("bench"))
    Namespace.add_all(namespace)
    try:
        yield namespace
    finally:
        Namespace.remove_all(namespace)


def way_out(here: Any, *neighbour: str) -> None:
    """Give the namespace a default route through a veth pair."""
    here.ip(
        *("link add out type veth peer name far", "link set out up", "link set far up"),
        *("addr add 192.0.2.2/24 dev out", *neighbour, "route add default via 192.0.2.1 dev out"),
    )


GROUNDS: dict[str, Callable[[Any], None]] = {
    "packets dropped": lambda here: way_out(here, "neigh add 192.0.2.1 lladdr 02:00:00:00:00:99 dev out nud permanent"),
    "arp fails": way_out,
    "refused": lambda here: here.ip("addr add 169.254.169.254/32 dev lo"),
    "no route": lambda here: None,
}


@contextmanager
def served(namespace: Any, address: str, port: int) -> Iterator[Any]:
    """The shipped service at an address inside a namespace."""
    from ec2ident.testing import Instance, MetadataService

    with namespace.entered():
        listener = socket.create_server((address, port))
    with MetadataService(Instance(region="us-west-2"), listeners=[listener]) as service:
        # An item is signed when it is first asked for, and that takes a moment.
        service.behave("body", path="/instance-identity/document$", body=(GENUINE / "document.json").read_text())
        service.behave("body", path="/instance-identity/rsa2048$", body=(GENUINE / "rsa2048.b64").read_text())
        yield service


def fake_root(parent: Path, name: str, values: dict[str, str]) -> str:
    """Make a root directory with these DMI fields; returns its path."""
    folder = parent / name / "sys" / "class" / "dmi" / "id"
    folder.mkdir(parents=True)
    for field, value in values.items():
        (folder / field).write_text(f"{value}\n", encoding="ascii")
    return str(parent / name)


# The tables.


class Bench:
    """Prints the tables and remembers what did not hold."""

    def __init__(self, peers: list[str], folder: Path) -> None:
        self.peers = peers
        self.missed: list[str] = []
        self.nothing = fake_root(folder, "nothing", {})
        document = json.loads((GENUINE / "document.json").read_text())
        mine = {"board_asset_tag": document["instanceId"], "product_name": document["instanceType"]}
        self.nitro = fake_root(folder, "nitro", {**NITRO, **mine})
        self.other = fake_root(folder, "other", OTHER)

    def must(self, held: bool, what: str) -> str:
        """Record a missed target; returns the words that report it."""
        if not held:
            self.missed.append(what)
        return "" if held else f"   MISSED: {what}"

    def no(self) -> None:
        """How long a "no" takes without local evidence, beside the peers."""
        print(f"\n'no', without local evidence: call ms (answer); ec2ident must end within {NO_WITHIN * 1000:.0f} ms")
        clients = ["ec2ident", *self.peers]
        print(f"  {'':<16}" + "".join(f"{client:>32}" for client in clients))
        with ThreadPoolExecutor(len(GROUNDS) * len(clients)) as pool:
            # The peers mostly wait, so they wait together; ec2ident is measured afterwards, alone.
            waiting = {
                (ground, peer): pool.submit(measure, lay, peer, rounds=1)
                for ground, lay in GROUNDS.items()
                for peer in self.peers
            }
            theirs = {key: future.result() for key, future in waiting.items()}
        for ground, lay in GROUNDS.items():
            mine = measure(lay, "ec2ident", root=self.nothing)
            row = [mine, *(theirs[ground, peer] for peer in self.peers)]
            held = mine.call <= NO_WITHIN and mine.answer.startswith("NONE")
            shown = "".join(f"{f'{one.call * 1000:.1f} ({one.answer})':>32}" for one in row)
            print(f"  {ground:<16}{shown}{self.must(held, f'no, {ground}')}")

    def yes(self) -> None:
        """How long a "yes" takes, and how many requests it sends."""
        print("\n'yes': call ms, requests")
        local = measure(GROUNDS["no route"], "ec2ident", root=self.nitro, again=True)
        # Our modules are loaded by the first call, or before it by `from ec2ident import detect`.
        usual = measure(GROUNDS["no route"], "ec2ident", root=self.nitro, imported=True)
        held = usual.call * 1000 <= LOCAL_WITHIN_MS and local.answer.startswith("CLAIM") and not local.heavy
        what = f"CLAIM from sysfs, {LOCAL_WITHIN_MS} ms, nothing imported beyond the standard library"
        first = f"first {local.call * 1000:.2f} ({usual.call * 1000:.2f} after `from ec2ident import detect`)"
        times = f"{first}, again {local.again * 1000:.3f}"
        print(f"  {'ec2ident, CLAIM from sysfs':<34} {times}, 0 requests ({local.answer}){self.must(held, what)}")
        with fresh() as namespace:
            namespace.ip("addr add 169.254.169.254/32 dev lo")
            with served(namespace, "169.254.169.254", 80) as service:
                cases = [("ec2ident", {"root": self.nitro, "level": "PROOF"}), *((peer, {}) for peer in self.peers)]
                for client, options in cases:
                    results = []
                    for _ in range(ROUNDS):
                        service.forget_requests()
                        results.append((run(namespace, client, timeout=5.0, **options), len(service.requests)))
                    result, requests = min(results, key=lambda pair: pair[0].call)
                    held = client != "ec2ident" or (requests == 2 and result.answer.startswith("PROOF"))
                    name = f"{client}, PROOF" if client == "ec2ident" else client
                    what = self.must(held, "PROOF in two requests")
                    print(f"  {name:<34} {result.call * 1000:.1f}, {requests} requests ({result.answer}){what}")

    def other_vendor(self) -> None:
        """Another vendor's firmware: no packet, and how long the answer takes."""
        print("\nanother vendor's firmware, packets dropped: packets sent, call ms (ec2ident imported before)")
        ground = GROUNDS["packets dropped"]
        mine = measure(ground, "ec2ident", root=self.other, imported=True, again=True)
        held = mine.sent == 0 and mine.call * 1000 <= LOCAL_WITHIN_MS
        what = self.must(held, f"no packet, {LOCAL_WITHIN_MS} ms")
        times = f"first {mine.call * 1000:.2f}, again {mine.again * 1000:.3f}"
        print(f"  {'ec2ident':<16} {mine.sent:>4} packets, {times} ({mine.answer}){what}")
        with ThreadPoolExecutor(len(self.peers) or 1) as pool:
            results = pool.map(lambda peer: (peer, measure(ground, peer, rounds=1)), self.peers)
            for peer, result in results:
                print(f"  {peer:<16} {result.sent:>4} packets, {result.call * 1000:.0f} ({result.answer})")

    def proxy(self) -> None:
        """The requests that reach a proxy of the environment."""
        print("\nhttp_proxy set to a hostile proxy, no other way: requests that it got")
        with fresh() as namespace, served(namespace, "127.0.0.1", 3128) as hostile:
            for client in ["ec2ident", *self.peers]:
                hostile.forget_requests()
                options = {"root": self.nothing} if client == "ec2ident" else {}
                environ = {"http_proxy": hostile.endpoint, "HTTP_PROXY": hostile.endpoint}
                result = run(namespace, client, environ, **options)
                got = len(hostile.requests)
                what = self.must(client != "ec2ident" or got == 0, "nothing to the proxy")
                print(f"  {client:<16} {got:>4} ({result.answer}){what}")

    def process(self) -> None:
        """How long the whole process takes, beside an empty Python."""
        print("\nwhole process on a machine that is not EC2 and has no route: ms, and ratio to `python -c pass`")
        code = "import sys; from ec2ident.cli import main; sys.exit(main([]))"
        with fresh() as namespace:
            times: dict[str, list[float]] = {"pass": [], "import ec2ident": [], code: []}
            for _ in range(20):
                for statement, took in times.items():
                    began = time.perf_counter()
                    with namespace.entered():
                        done = subprocess.run(
                            [sys.executable, "-c", statement],
                            env={"PYTHONPATH": str(TOP)},
                            capture_output=True,
                            text=True,
                        )
                    took.append(time.perf_counter() - began)
                    if "Traceback" in done.stderr:
                        raise SystemExit(f"{statement}: {done.stderr}")
        bare = min(times["pass"])
        command, added = min(times[code]), min(times["import ec2ident"]) - bare
        print(f"  {'python -c pass':<34} {bare * 1000:.1f}")
        what = self.must(added <= 0.005, "import adds at most 5 ms")
        print(f"  {'import ec2ident':<34} {(bare + added) * 1000:.1f}, adds {added * 1000:.1f}{what}")
        what = self.must(command <= 2.5 * bare, "at most 2.5 times the bare process")
        print(f"  {'ec2ident':<34} {command * 1000:.1f}, ratio {command / bare:.2f}{what}")

    def errors(self) -> None:
        """How long each misbehaviour of the service takes, and what is said of it."""
        import ec2ident
        from ec2ident.testing import BEHAVIOURS, MetadataService

        print("\nevery way the service can misbehave, timeout 0.5 s: ms, level and reason")
        with MetadataService() as service:
            for name in BEHAVIOURS:
                service.reset()
                service.behave(name, path="nothing" if name == "hide" else "")
                began = time.perf_counter()
                imds = ec2ident.Imds(0.5, endpoints=service.endpoint)
                verdict = ec2ident.detect(
                    level=ec2ident.Level.PROOF, timeout=0.5, root=self.nothing, imds=imds, trust=service.trust
                )
                took = time.perf_counter() - began
                what = self.must(took <= 0.75, f"{name} within the deadline")
                print(f"  {name:<20} {took * 1000:>6.0f}  {verdict.level.name:<9} {verdict.reason}{what}")


def main() -> int:
    """Measure, print, and return exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the peers")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--options", default="{}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        child(arguments.client, json.loads(arguments.options))
        return 0
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("bench detect: needs root and iproute2, for network namespaces of its own", file=sys.stderr)
        return 2
    versions = {} if arguments.quick else peers.versions()
    print("  ".join(f"{name} {version}" for name, version in versions.items()))
    with ExitStack() as stack:
        bench = Bench([*versions], Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for table in (bench.no, bench.yes, bench.other_vendor, bench.proxy, bench.process, bench.errors):
            table()
    print(f"\nmissed: {', '.join(bench.missed)}" if bench.missed else "\nall figures hold")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
