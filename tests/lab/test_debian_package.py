"""The .deb on a node of the simulated VPC: installed, upgraded under traffic, removed, purged; then nothing is left.

dpkg and the maintainer scripts are the real ones, in an enclosure: this machine's files with every change in memory.
systemctl is a stand-in that starts what the package's own unit says, because no systemd runs in there; by default it
enables what it is asked to, as Debian's presets do.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ec2ident_agent.install.manifest import MANIFEST, Entry, manifest
from tests.lab.enclosure import Enclosure, wait_until
from tests.lab.eni import OUTSIDE
from tests.lab.recipe import CONFIGURATION
from tests.lab.stream import Stream
from tests.lab.vpc import Vpc
from tests.test_wheel import source, wheel  # noqa: F401  fixtures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.root,
    pytest.mark.full,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not shutil.which("deb-systemd-helper"), reason="needs a Debian machine with init-system-helpers"
    ),
]

TOP = Path(__file__).parents[2]
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

UNIT = "ec2ident-agent-watch.service"
WANTS = "/etc/systemd/system/multi-user.target.wants"
SYSTEMCTL = f"""#!/bin/sh
echo "$*" >>/run/systemctl.log
end() {{ [ ! -s /run/watch.pid ] || kill "$(cat /run/watch.pid)"; }}
start() {{
    $(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/{UNIT}) </dev/null >>/run/watch.log 2>&1 &
    echo $! >/run/watch.pid
}}
case "$*" in
    *" preset "*) for unit; do :; done; ln -s "/usr/lib/systemd/system/$unit" {WANTS} ;;
    "start {UNIT}") start ;;
    "try-restart {UNIT}") [ ! -s /run/watch.pid ] || {{ end && start; }} ;;
    "stop ec2ident-agent*.service") end; rm -f /run/watch.pid ;;
esac
"""
LOSS = "rule del from 10.0.1.0/24 lookup 100"
#: What dpkg keeps for itself.
OF_DPKG = re.compile(r"/var/(lib/dpkg|log|cache)(/|$)|/etc/systemd/system/multi-user\.target\.wants$")
#: A file that `doctor --fix` has written, by the manifest.
DROP_IN = "/etc/sysctl.d/90-ec2ident-doctor.conf"


def run(*command: str, cwd: Path = TOP) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def debs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:  # noqa: F811  a fixture
    """Two revisions of the files as they are now."""
    place = tmp_path_factory.mktemp("debs")
    for revision in ("1", "2"):
        run(str(TOP / "scripts/package"), "debian", "--revision", revision, "--wheel", str(wheel), str(place))
    first, second = sorted(place.glob("*.deb"))
    wanted = re.search(r"python3\.\d+", run("dpkg-deb", "--field", str(first), "Depends"))
    if not wanted or not Path("/usr/bin", wanted[0]).exists():
        pytest.skip(f"the package is for {wanted and wanted[0]}, which is not this machine's own Python")
    return first, second


@pytest.fixture
def machine() -> Iterator[tuple[Vpc, Enclosure]]:
    """A node with eth1, and the stand-in for systemctl."""
    with Vpc() as vpc, Enclosure(vpc.node) as inside:
        vpc.attach("eth1")
        inside.write("/usr/local/sbin/systemctl", SYSTEMCTL, 0o755)
        inside.make_directories("/run/systemd/system")
        # A machine on which nothing may be started keeps its watch as it was.
        inside.run("rm", "-f", "/usr/sbin/policy-rc.d")
        yield vpc, inside


def dpkg(inside: Enclosure, *words: str) -> None:
    # Triggers are other packages' work: mandb reads every page of the machine.
    done = inside.run("dpkg", "--no-triggers", *words)
    assert 0 == done.returncode, done.stdout + done.stderr


def listed(inside: Enclosure) -> dict[str, str]:
    """The paths in /etc, /usr and /var that differ from the machine's, with what a file holds, and all of /run."""
    found = {}
    for top in ("etc", "usr", "var"):
        changes = inside.path(f"/run/changes/{top}")
        for path in changes.rglob("*"):
            here = Path("/", top, path.relative_to(changes))
            if not OF_DPKG.match(str(here)) and (path.is_char_device() or not (path.is_dir() and here.is_dir())):
                found[str(here)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "other"
    run_ = inside.read("find", "/run", "-path", "/run/changes", "-prune", "-o", "-print").split()
    return {**found, **dict.fromkeys(run_, "run")}


def watch(inside: Enclosure) -> str:
    """The process of the watch, by the stand-in for systemctl."""
    return inside.text("/run/watch.pid").strip()


def test_the_package_lives_and_goes_without_a_trace(debs: tuple[Path, Path], machine: tuple[Vpc, Enclosure]) -> None:
    """An upgrade with a running watch loses no packet, a removal changes no route, a purge leaves nothing at all."""
    vpc, inside = machine
    address = vpc.enis["eth1"].address
    inside.run("systemctl", "begin")
    before, kernel = listed(inside), vpc.node.snapshot()

    dpkg(inside, "--install", str(debs[0]))
    assert "unknown" in inside.run("ec2ident", "--no-network").stdout
    assert "in order" in inside.read("ec2ident-agent", "status")
    assert "nothing to do" in inside.read("ec2ident-agent", "install")
    assert "" == inside.read("dpkg", "--verify", "ec2ident")
    assert UNIT in inside.read("ls", WANTS)
    # Nothing is started before it is configured.
    assert "" == watch(inside)

    inside.write("/etc/ec2ident/agent.toml", CONFIGURATION)
    inside.read("ec2ident-agent", "apply")
    applied = vpc.node.snapshot()
    inside.run("systemctl", "start", UNIT)
    vpc.node.ip(LOSS)
    wait_until(lambda: applied == vpc.node.snapshot(), "the watch has added the rule again")
    first = watch(inside)
    with Stream(vpc.client, address, source=OUTSIDE) as stream:
        wait_until(lambda: stream.sent > 100, "the stream flows")
        dpkg(inside, "--install", str(debs[1]))
    assert 0 == stream.lost
    assert first != watch(inside)
    assert applied == vpc.node.snapshot()
    vpc.node.ip(LOSS)
    wait_until(lambda: applied == vpc.node.snapshot(), "the new watch has added the rule again")
    assert "eth1" in inside.text("/etc/ec2ident/agent.toml")

    # The hook of ifupdown adds what is missing; the watch would too.
    inside.run("systemctl", "stop", "ec2ident-agent*.service")
    vpc.node.ip(LOSS)
    hook = ("env", "IFACE=eth1", "/etc/network/if-up.d/ec2ident")
    inside.read(*hook)
    assert applied == vpc.node.snapshot()
    inside.run("systemctl", "start", UNIT)

    dpkg(inside, "--remove", "ec2ident")
    assert "" == watch(inside)
    assert applied == vpc.node.snapshot()
    assert vpc.client.ask(address)
    inside.read(*hook)
    # Beside another program's `install` the purge of the package removes nothing of it.
    inside.write("/etc/ec2ident/hook", "")
    inside.read("sh", "/var/lib/dpkg/info/ec2ident.postrm", "purge")
    inside.read("rm", "/etc/ec2ident/hook")
    assert applied == vpc.node.snapshot()
    assert inside.path("/etc/ec2ident/agent.toml").exists()
    drop_in = b"# of the doctor\n"
    inside.write(DROP_IN, drop_in.decode())
    mark = hashlib.sha256(drop_in).hexdigest()
    inside.write(MANIFEST, manifest([Entry(DROP_IN, "file", mark, 0o644)]).decode())

    dpkg(inside, "--purge", "ec2ident")
    for name in ("watch.pid", "watch.log"):
        inside.run("rm", "-f", f"/run/{name}")
    assert before == listed(inside)
    assert kernel == vpc.node.snapshot()


def test_two_builds_have_the_same_files(debs: tuple[Path, Path]) -> None:
    """Compiled files too. The changelog has the revision."""
    sums = [
        {line for line in run("dpkg-deb", "--info", str(deb), "md5sums").splitlines() if "changelog.Debian" not in line}
        for deb in debs
    ]

    assert sums[0] == sums[1]
    assert any(".pyc" in line for line in sums[0])
