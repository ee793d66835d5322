"""What the programs cost as times of a peer that is measured in the same run: one table, for people and for a guard.

    ratios.py                    the table, and how each cost grows with the work
    ratios.py --quick            fewer rounds, less work
    ratios.py --only SUBJECT     verify, detect, starts, agent, crowd, watch, failover or move; more than once for more
    ratios.py --json FILE        also as JSON
    ratios.py --plots DIRECTORY  also as SVG
    ratios.py --check            compare with ratios.json beside this file; exit code 1 where a cost has risen
    ratios.py --write            write the measured ratios into that file

Each ratio is a cost divided by the peer's; less is better. The rounds of both alternate, so that other work slows both,
and the ratio is that of the minima; the medians stand beside it. As root the measured processes go before all others,
which takes most of the noise out. What changes the network runs in a namespace of its own, and needs root.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP), str(TOP / "agent"), str(Path(__file__).parent)]

import plots  # noqa: E402

if TYPE_CHECKING:
    from ec2ident_agent.node import Node
    from tests.lab.namespace import Namespace

EXPECTED = Path(__file__).with_name("ratios.json")
#: A ratio may be this much above the committed one: what another machine, another Python and other work make of it.
ROOM = 1.35
#: Rows that need more: the moment of a repair depends on which process the kernel lets run first.
ROOMS = {"watch, one deletion to its repair": 2.5}
#: And at least this much: a cost of next to nothing is as often twice as large by chance.
SLACK = 0.01
LIBRARIES = [path for path in sys.path if path.endswith("-packages")]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join([str(TOP), str(TOP / "agent"), *LIBRARIES])}

REAL = TOP / "tests" / "vectors" / "real"
GENUINE = {"rsa2048": "teleport-us-west-2-2021", "pkcs7": "metaphor-b-ap-southeast-2-2026"}


class Row(NamedTuple):
    """A line of the table; figures in the unit."""

    name: str
    peer: str
    best: float
    median: float
    peer_best: float
    peer_median: float
    #: The largest ratio that was set as a goal, or None.
    wanted: float | None
    unit: str = "ms"

    @property
    def ratio(self) -> float:
        """The cost as times of the peer's."""
        return self.best / self.peer_best


class Bench:
    """The rows so far, and the series: name -> the size of the work -> milliseconds."""

    def __init__(self, python: str, rounds: int, quick: bool) -> None:
        self.python, self.rounds, self.quick = python, rounds, quick
        self.rows: list[Row] = []
        self.series: dict[str, dict[int, float]] = {}
        #: The clients that are compared with, and their releases.
        self.peers: dict[str, str] = {}
        #: What makes a no -> client -> milliseconds.
        self.answers: dict[str, dict[str, float]] = {}

    def compare(
        self, peer: tuple[str, Run], *cases: tuple[str, Run, float | None], rounds: int = 0, unit: str = "ms"
    ) -> None:
        """Measure some cases in turn with their peer."""
        found: dict[str, list[float]] = {}
        for _ in range(rounds or self.rounds):
            for name, run in (peer, *(case[:2] for case in cases)):
                began = time.perf_counter()
                spent = run()
                took = (time.perf_counter() - began) * 1000
                found.setdefault(name, []).append(took if spent is None else spent)
        times = {name: (min(values), statistics.median(values)) for name, values in found.items()}
        for name, _, wanted in cases:
            row = Row(name, peer[0], *times[name], *times[peer[0]], wanted, unit)
            self.rows.append(row)
            goal = "" if wanted is None else f"<= {wanted:<5g} {'yes' if row.ratio <= wanted else 'no'}"
            median = row.median / row.peer_median
            print(
                f"{row.ratio:>7.3g} {median:>7.3g}  {name:<44} {row.best:>9.3f} {unit:<3} {row.peer:<32} {goal}",
                flush=True,
            )

    def grow(self, name: str, size: int, run: Run, rounds: int = 3) -> None:
        """Measure one point of a series."""
        best = 1e9
        for _ in range(rounds):
            began = time.perf_counter()
            spent = run()
            took = (time.perf_counter() - began) * 1000
            best = min(best, took if spent is None else spent)
        self.series.setdefault(name, {})[size] = best
        print(f"{'':16} {name:<44} {best:>9.3f}  at {size:,}", flush=True)


#: What is measured. It returns its figure, or None for the milliseconds between start and end.
Run = Callable[[], "float | None"]


def often(function: Callable[[], object], count: int = 50) -> Run:
    """Something short: the mean of some calls, in milliseconds."""

    def run() -> float:
        began = time.perf_counter()
        for _ in range(count):
            function()
        return (time.perf_counter() - began) * 1000 / count

    return run


def process(*words: str, codes: Sequence[int] = (0,), environment: dict[str, str] = ENVIRONMENT) -> Run:
    """A whole process. Raises SystemExit for another exit code."""

    def run() -> None:
        done = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode not in codes:
            raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")

    return run


# The library


def verify(bench: Bench) -> None:
    """Documents, beside the bare key operation; and with a process for each core."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    import ec2ident
    from ec2ident.proof import cms

    for kind, wanted in (("rsa2048", 2.0), ("pkcs7", 1.39)):
        text = item(kind)
        signed = cms.parse(b64decode(text))
        region = ec2ident.verify(text, kind=kind).region
        key: Any = load_der_public_key(ec2ident.TrustStore.bundled().key_for(region, kind).key.spki)
        how = (padding.PKCS1v15(), hashes.SHA256()) if kind == "rsa2048" else (hashes.SHA1(),)
        last = signed.signature[-1:]
        wrong = b64decode(text).replace(signed.signature, signed.signature[:-1] + bytes((last[0] ^ 1,)))

        def refuse(wrong: bytes = wrong, kind: str = kind) -> None:
            try:
                ec2ident.verify(wrong, kind=kind)
            except ec2ident.VerificationError:
                return
            raise SystemExit("a wrong signature was accepted")

        def bare(key: Any = key, signed: cms.SignedData = signed, how: tuple[Any, ...] = how) -> None:
            key.verify(signed.signature, signed.signed_attributes, *how)

        def prove(text: str = text, kind: str = kind) -> None:
            ec2ident.verify(text, kind=kind)

        cases = [(f"verify {kind}", often(prove), wanted), (f"refuse a wrong {kind}", often(refuse), 3.0)]
        bench.compare((f"key.verify, {kind}", often(bare)), *cases, rounds=bench.rounds * 10)
        if shutil.which("openssl"):
            name, run = OPENSSL[kind]
            own = (f"key.verify {kind}, beside openssl", often(bare, 1000), None)
            whole = (f"verify {kind}, beside openssl", often(prove, 1000), None)
            bench.compare((f"openssl speed {name}", run), own, whole, rounds=3)
    many(bench)


def openssl(algorithm: str, line: str) -> Run:
    """OpenSSL's own measurement of one check of a signature, in one thread, over a second."""

    def run() -> float:
        words = ["openssl", "speed", "-mr", "-seconds", "1", algorithm]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        found = next(each for each in said.splitlines() if each.startswith(line))
        return 1000 / float(found.rpartition(":")[2])  # The last field is checks a second.

    return run


#: The algorithms of AWS's signatures, and the line with their figures.
OPENSSL = {
    "rsa2048": ("rsa2048", openssl("rsa2048", "+F2:")),
    "pkcs7": ("dsa1024", openssl("dsa1024", "+F3:")),
}


def item(kind: str) -> str:
    """A genuine item."""
    return (REAL / GENUINE[kind] / f"{kind}.b64").read_text(encoding="ascii")


def instances(items: list[str]) -> list[str]:
    """Runs in a process of the pool."""
    import ec2ident

    return [ec2ident.verify(one, kind="rsa2048").document.instance_id for one in items]


def many(bench: Bench) -> None:
    """The program of docs/attestation.md, "Many documents"."""
    most = 20_000 if bench.quick else 100_000
    text = item("rsa2048")
    batches = [[text[: -1 - number % 2] + "\n"] * 250 for number in range(most // 250)]
    some = batches[: 10_000 // 250]
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(instances, some[:8]))
        pair: Run = lambda: list(pool.map(instances, some)) and None  # noqa: E731
        one: Run = lambda: list(map(instances, some)) and None  # noqa: E731
        bench.compare(("one process", one), ("10,000 documents, two processes", pair, 1 / 1.8))
        for size in (1, 10, 100, 1_000, 10_000, most):
            head = [batch[:size] for batch in batches[: -(-size // 250)]]
            bench.grow("documents, one process", size, lambda head=head: list(map(instances, head)) and None)  # type: ignore[misc]
            bench.grow("documents, two processes", size, lambda head=head: list(pool.map(instances, head)) and None)  # type: ignore[misc]


def detect(bench: Bench) -> None:
    """How long a no takes without local evidence, beside other clients."""
    if not may_make_networks():
        return
    import peers
    from detect import GROUNDS, fake_root, measure

    bench.peers = peers.versions()
    print("  ".join(f"{name} {version}" for name, version in bench.peers.items()))
    clients = ["ec2ident", *bench.peers]
    with tempfile.TemporaryDirectory() as folder:
        nothing = fake_root(Path(folder), "nothing", {})
        with ThreadPoolExecutor(8) as pool:
            # Where packets are lost the peers wait for up to half a minute, so there they wait together.
            lost = [(ground, peer) for ground in ("packets dropped", "arp fails") for peer in bench.peers]
            found = dict(zip(lost, pool.map(lambda each: measure(GROUNDS[each[0]], each[1], 1), lost)))
        for ground, way in GROUNDS.items():
            for client in clients:
                options = {"root": nothing} if client == "ec2ident" else {}
                result = found.get((ground, client)) or measure(way, client, 3, **options)
                bench.answers.setdefault(ground, {})[client] = result.call * 1000
                print(
                    f"{'':16} no, {f'{ground}, {client}':<40} {result.call * 1000:>9.1f}  {result.answer}", flush=True
                )


# Whole processes

INTERFACE = """\
[interface.eth0]
subnet = "10.0.0.0/24"
router = "10.0.0.1"
table = 100
table_name = "MYHA"

"""
CONFIGURATION = f"""\
{INTERFACE}[[overlay]]
address = "192.168.10.10/32"
device = "eth0"
label = "eth0:1"
"""


def starts(bench: Bench) -> None:
    """Whole processes, beside an empty Python."""
    passing = ("python -c pass", process(bench.python, "-c", "pass"))
    command = "import sys; from ec2ident.cli import main; sys.exit(main())"
    library = process(bench.python, "-c", command, "--no-network", codes=(1, 3))
    cases: list[tuple[str, Run, float | None]] = [("ec2ident --no-network", library, 2.0)]
    if not in_namespace():
        bench.compare(passing, *cases)
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        files = node(directory)
        run = [bench.python, str(TOP / "agent/bin/ec2ident-agent")]
        # As the installed hook calls it, unless files are elsewhere.
        hook = [*run, "hook", "networkmanager", "eth0", "hostname"]
        apply, revert = [*run, "apply", *files], [*run, "revert", "--all", *files]

        def first() -> float:
            process(*revert)()
            began = time.perf_counter()
            process(*apply)()
            return (time.perf_counter() - began) * 1000

        process(*apply)()
        bench.compare(
            passing,
            *cases,
            ("ec2ident-agent status", process(*run, "status", *files), 1.7),
            ("ec2ident-agent apply, nothing to do", process(*apply), None),
            ("ec2ident-agent apply, first", first, 4.5),
            ("hook, an event that asks for nothing", process(*hook), 1.2),
            (
                "hook, an interface of another program",
                process(*shell_hook(bench.python, directory), "networkmanager", "eth9", "up"),
                0.15,
            ),
            ("import pyroute2", process(bench.python, "-c", "import pyroute2"), None),
        )


def overlays(count: int) -> str:
    """A configuration with this many overlay addresses."""
    each = '[[overlay]]\naddress = "10.99.{}.{}/32"\ndevice = "eth0"\nlabel = "eth0:1"\n'
    return INTERFACE + "\n".join(each.format(number >> 8, number & 255) for number in range(count))


def node(directory: Path, configuration: str = CONFIGURATION) -> list[str]:
    """A configured node; returns the options that name its files."""
    config = directory / "agent.toml"
    config.write_text(configuration, encoding="utf-8")
    config.chmod(0o644)
    os.utime(config, (1, 1))
    (directory / "names").mkdir()
    # The configuration is kept once the file has settled; its ctime is now.
    time.sleep(2.1)
    files = {"--config": config, "--state-dir": directory / "state", "--names-dir": directory / "names"}
    return [word for name, path in files.items() for word in (name, str(path))]


def shell_hook(python: str, directory: Path) -> list[str]:
    """The installed hook, as `install` fills it in."""
    text = (TOP / "agent/ec2ident_agent/install/data/hook").read_text(encoding="utf-8")
    values = {
        "PROGRAM": str(TOP / "agent/bin/ec2ident-agent"),
        "PYTHON": python,
        "CONFIG": str(directory / "agent.toml"),
        "STATE": str(directory / "state"),
        "OPTIONS": "",
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    path = directory / "hook"
    path.write_text(text, encoding="utf-8")
    return ["sh", str(path)]


def may_make_networks() -> bool:
    """Whether this process may make network namespaces; if not, that is said."""
    may = os.geteuid() == 0 and shutil.which("ip") is not None
    if not may:
        print("no root or no iproute2: what changes the network is not measured", file=sys.stderr)
    return may


_entered: list[bool] = []


def in_namespace() -> bool:
    """Whether this process has a network of its own by now: as root it gets one."""
    if not _entered:
        _entered.append(may_make_networks())
        if _entered[0]:
            from agent import enter

            enter()
    return _entered[0]


# The agent's work


def agent_work(bench: Bench) -> None:
    """Addresses with their rules and tables, beside `ip -batch`; and a look among foreign routes."""
    if not in_namespace():
        return
    from agent import Pyroute2, batch, commands, wishes
    from ec2ident_agent.engine import Look, apply, compare, revert
    from ec2ident_agent.kernel.change import NetlinkKernel
    from ec2ident_agent.state.journal import Journal

    with tempfile.TemporaryDirectory() as folder:
        journal, kernel = Journal(folder), NetlinkKernel()

        def there() -> Look:
            return Look(kernel.observe(), journal.read())

        for count in (1, 10, 50, 150, 750):
            wanted, (lines, undone) = wishes(count), commands(count)
            times: dict[str, float] = {}

            def cycle(wanted: Any = wanted, times: dict[str, float] = times) -> None:
                for name, work in (
                    ("apply", lambda: apply(wanted, there(), kernel, journal, bool)),
                    ("nothing", lambda: compare(wanted, there())),
                    ("revert", lambda: revert(None, there(), kernel, journal, bool)),
                ):
                    began = time.perf_counter()
                    work()
                    times[name] = (time.perf_counter() - began) * 1000

            def applied(cycle: Any = cycle, times: dict[str, float] = times) -> float:
                cycle()
                return times["apply"]

            def batched(lines: Any = lines) -> None:
                batch(lines)

            def unbatched(undone: Any = undone) -> None:
                batch(undone)

            if count == 750:
                bench.compare(
                    ("ip -batch", batched),
                    ("ip -batch, to remove it", unbatched, None),
                    ("apply of 750 addresses", applied, 2.5),
                    ("compare, nothing to do at 750", lambda times=times: times["nothing"], None),  # type: ignore[misc]
                    ("revert of 750 addresses", lambda times=times: times["revert"], 2.5),  # type: ignore[misc]
                )
                with Pyroute2(count) as other:
                    bench.compare(
                        ("pyroute2's IPRoute", other.add),
                        ("pyroute2's IPRoute, to remove it", other.remove, None),
                        ("apply of 750 addresses, beside pyroute2", applied, None),
                        rounds=3,
                    )
            bench.grow("apply", count, applied)
            bench.grow("compare, nothing to do", count, lambda times=times: times["nothing"], 1)  # type: ignore[misc]
            bench.grow("revert", count, lambda times=times: times["revert"], 1)  # type: ignore[misc]
            best = 1e9
            for _ in range(3):
                began = time.perf_counter()
                batched()
                best = min(best, (time.perf_counter() - began) * 1000)
                unbatched()
            bench.grow("ip -batch", count, lambda best=best: best, 1)  # type: ignore[misc]
        kernel.close()
        routes(bench, Path(folder))


def routes(bench: Bench, directory: Path) -> None:
    """A whole status among routes of another program, which stand in a table of their own as a BGP daemon's may."""
    from agent import batch

    files = node(directory)
    status = process(bench.python, str(TOP / "agent/bin/ec2ident-agent"), "status", *files)
    process(bench.python, str(TOP / "agent/bin/ec2ident-agent"), "apply", *files)()
    there = 0
    for count in (0, 1_000, 10_000) if bench.quick else (0, 1_000, 10_000, 100_000):
        words = (f"route add 11.{n >> 16}.{n >> 8 & 255}.{n & 255}/32 dev eth0 table 999" for n in range(there, count))
        batch(words)
        there = count
        bench.grow("status among foreign routes", count, status, 5)
    process(bench.python, str(TOP / "agent/bin/ec2ident-agent"), "revert", "--all", *files)()
    batch(["route flush table 999"])


def crowd(bench: Bench) -> None:
    """Looks at many objects: a node of 750 overlay addresses, and one of few among 100,000 routes of other programs."""
    if not may_make_networks():
        return
    gc.disable()  # As the commands do.
    try:
        many_wishes(bench)
        many_addresses(bench)
        foreign_routes(bench)
    finally:
        gc.enable()


@contextmanager
def network() -> Iterator[Namespace]:
    """A network namespace with a link that leads nowhere."""
    from detect import fresh

    from agent import LINKS

    with fresh() as namespace:
        namespace.ip(*LINKS)
        yield namespace


def node_of(files: Sequence[str]) -> Node:
    """The node that these options name, in the network of the calling thread."""
    from ec2ident_agent.node import Node

    config, state, names = files[1::2]
    return Node(config, state_dir=state, names_dir=names)


def many_addresses(bench: Bench) -> None:
    """What commands do for many overlay addresses with their rules that are in place, beside a look at the kernel."""
    for count in (1, 50, 750) if bench.quick else (1, 50, 750, 3_000):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(stack.enter_context(network()).entered())
            here = stack.enter_context(node_of(node(folder, overlays(count))))
            here.apply()
            assert here.status().in_order
            work = {"look": here.kernel.observe, "Node.apply, nothing to do": here.apply, "Node.status": here.status}
            runs: dict[str, Run] = {name: often(function, 1) for name, function in work.items()}
            if count == 750:
                peer, *cases = ((f"{name} at 750", run) for name, run in runs.items())
                bench.compare(peer, *((*case, None) for case in cases))
            for name, run in runs.items():
                bench.grow(name, count, run)


def many_wishes(bench: Bench) -> None:
    """The same for 750 addresses of 15 owners, from their desired state on; and apply and revert of many tables."""
    from agent import wishes
    from ec2ident_agent.engine import Look, apply, revert
    from ec2ident_agent.kernel.change import NetlinkKernel
    from ec2ident_agent.state.journal import Journal

    with tempfile.TemporaryDirectory() as folder, network() as namespace, namespace.entered():
        journal, kernel = Journal(folder), NetlinkKernel()

        def there() -> Look:
            return Look(kernel.observe(), journal.read())

        def applied() -> None:
            apply(wanted, there(), kernel, journal, bool)

        reverts: list[float] = []

        def cycle() -> float:
            began = time.perf_counter()
            applied()
            between = time.perf_counter()
            revert(None, there(), kernel, journal, bool)
            reverts.append((time.perf_counter() - between) * 1000)
            return (between - began) * 1000

        for count in (1, 10, 50):
            wanted = wishes(count, each=1)
            bench.grow("apply, a table for each address", count, cycle)
            bench.grow("revert, a table for each address", count, lambda: min(reverts[-3:]), 1)
        wanted = wishes(750)
        applied()
        bench.compare(
            ("look at 750", often(kernel.observe, 1)), ("apply of a desired state, nothing to do at 750", applied, 1.5)
        )
        kernel.close()


def foreign_routes(bench: Bench) -> None:
    """The look of a command, which opens its socket, beside the same one where main has no foreign routes."""
    from agent import batch

    with ExitStack() as stack:
        here = [stack.enter_context(network()) for _ in range(2)]
        files = [node(Path(stack.enter_context(tempfile.TemporaryDirectory()))) for _ in here]

        def look(number: int) -> float:
            with here[number].entered():
                began = time.perf_counter()
                with node_of(files[number]) as mine:
                    mine.look()
                return (time.perf_counter() - began) * 1000

        for each, options in zip(here, files):
            with each.entered(), node_of(options) as mine:
                assert mine.apply().steps
        with here[1].entered():
            batch(f"route add 11.{n >> 16}.{n >> 8 & 255}.{n & 255}/32 dev eth0" for n in range(100_000))
        bench.compare(("look", lambda: look(0)), ("look among 100,000 foreign routes of main", lambda: look(1), 10.0))


# Watch


def watch(bench: Bench) -> None:
    """Watch while routes of main come and go, what a repair takes, and the memory that watch has from then on."""
    if not may_make_networks():
        return
    from watch_lab import CHANGES, REPAIRS, WatchLab

    from agent import whole

    with tempfile.TemporaryDirectory() as folder, network() as namespace:
        argv = [bench.python, str(TOP / "agent/bin/ec2ident-agent"), "watch", *node(Path(folder))]
        passing = [bench.python, "-c", "pass"]
        with WatchLab(namespace, argv, ENVIRONMENT, Path(folder) / "log") as lab:
            bench.compare(
                (f"ip -batch, {CHANGES:,} changes", lab.storm),
                ("CPU of watch while routes of main change", lambda: lab.busy, 0.01),
                rounds=3 if bench.quick else 7,
            )
            bench.compare(
                ("python -c pass", process(*passing)),
                ("watch, one deletion to its repair", lab.repair, 2.6),
                rounds=REPAIRS,
            )
            bench.compare(
                ("python -c pass", lambda: whole(passing)[1]),
                ("memory of watch after repairs", lab.resident, 2.4),
                rounds=REPAIRS,
                unit="MiB",
            )


# Failover


def failover(bench: Bench) -> None:
    """The OCF actions of two route tables, with an instance role and TLS, beside an empty Python."""
    if not in_namespace():
        return
    from tls_lab import TlsLab

    with tempfile.TemporaryDirectory() as folder, TlsLab(Path(folder), bench.python, ENVIRONMENT) as lab:
        names = {"OCF start": 15.0, "OCF monitor": None, "OCF deep monitor": 12.0, "OCF stop": 6.0}
        actions = dict(zip(names, (("start", 0), ("monitor", 0), ("monitor", 10), ("stop", 0))))

        def act(name: str) -> Run:
            return lambda: lab.act(*actions[name])

        bench.compare(
            ("python -c pass", process(bench.python, "-c", "pass")),
            *((name, act(name), wanted) for name, wanted in names.items()),
        )


def move(bench: Bench) -> None:
    """The same actions beside Debian's `aws-vpc-move-ip` with Debian's AWS CLI, on one fake API without TLS."""
    if not may_make_networks():
        return
    from failover import OURS, THEIRS, laboratory

    from tests.lab.packages import Unavailable

    names = {"start": False, "monitor": True, "stop": True}
    found: dict[tuple[str, str], list[float]] = {}
    try:
        with laboratory() as here:
            for _ in range(1 if bench.quick else 3):
                for agent in (OURS, THEIRS):
                    here.route_to(2)
                    for action, deep in names.items():
                        took = here.must(agent, action, deep=deep).wall * 1000
                        found.setdefault((agent.type, action), []).append(took)
    except Unavailable as missing:
        print(f"aws-vpc-move-ip is not measured: {missing}", file=sys.stderr)
        return
    for action in names:
        mine, theirs = (found[agent.type, action] for agent in (OURS, THEIRS))
        row = f"OCF {'deep ' * (action == 'monitor')}{action}, beside aws-vpc-move-ip"
        peer = (f"aws-vpc-move-ip {action}", iter(theirs).__next__)
        bench.compare(peer, (row, iter(mine).__next__, None), rounds=len(mine))


SUBJECTS: dict[str, Callable[[Bench], None]] = {
    "verify": verify,
    "detect": detect,
    "starts": starts,
    "agent": agent_work,
    "crowd": crowd,
    "watch": watch,
    "failover": failover,
    "move": move,
}


def machine() -> dict[str, str]:
    """What was measured on, and with what."""
    import cryptography
    import pyroute2

    found = {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "pyroute2": str(getattr(pyroute2, "__version__", "")),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
    if shutil.which("openssl"):
        found["openssl"] = subprocess.run(["openssl", "version"], capture_output=True, text=True).stdout.split()[1]
    if shutil.which("ip"):
        version = subprocess.run(["ip", "-V"], capture_output=True, text=True).stdout
        found["iproute2"] = version.strip().rpartition("-")[2]
    return found


def go_first() -> None:
    """Measured processes go before all others, where this may be asked for."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except (OSError, AttributeError):
        print("not root: other work on the machine makes the figures worse", file=sys.stderr)


def bare_python(folder: str) -> str:
    """A Python without what this environment adds to each start; the libraries are found through PYTHONPATH."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = f"{folder}/bin/python"
    for package in ("ec2ident", "agent/ec2ident_agent"):
        subprocess.run([python, "-m", "compileall", "-q", str(TOP / package)], check=True)
    return python


def allowed(name: str, committed: float) -> float:
    """The largest ratio that noise alone may make of the committed one of this row."""
    return max(committed * ROOMS.get(name, ROOM), committed + SLACK)


def check(rows: list[Row]) -> int:
    """Compare with the committed ratios; exit code 1 where one has risen by more than its room."""
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    worse = [
        f"{row.name}: {row.ratio:.2f} times {row.peer} (committed: {expected[row.name]})"
        for row in rows
        if row.ratio > allowed(row.name, expected.get(row.name, float("inf")))
    ]
    new = [row.name for row in rows if row.name not in expected]
    print("\n" + ("\n".join(f"WORSE {line}" for line in worse) or "no ratio has risen by more than its room"))
    for name in new:
        print(f"not in {EXPECTED.name}: {name}; write it with --write")
    return 1 if worse else 0


def main() -> int:
    """Measure, print, and with --check compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=[*SUBJECTS])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    about = machine()
    print("  ".join(f"{name} {value}" for name, value in about.items()))
    print(f"{'ratio':>7} {'median':>7}  {'what':<44} {'best':>9}     {'times':<32} wanted")
    go_first()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(bare_python(folder), 7 if options.quick else 20, options.quick)
        for name in options.only or SUBJECTS:
            SUBJECTS[name](bench)
    found = {
        "machine": {**about, **bench.peers},
        "rows": [{**row._asdict(), "ratio": round(row.ratio, 4)} for row in bench.rows],
        "series": bench.series,
        "answers": bench.answers,
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.plots:
        plots.write(options.plots, {row.name: row.ratio for row in bench.rows}, bench.series, bench.answers)
    if options.write:
        known = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
        known.update({row.name: round(row.ratio, 2 if row.ratio > 0.1 else 4) for row in bench.rows})
        EXPECTED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return check(bench.rows) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
