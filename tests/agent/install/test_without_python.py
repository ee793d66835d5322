"""The script /etc/ec2ident/uninstall: what the program itself would remove, on a node on which the program has gone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident_agent.install import layout
from ec2ident_agent.install.installer import install
from ec2ident_agent.install.manifest import MANIFEST
from ec2ident_agent.install.rootfs import RootFs
from tests.agent.conftest import ip
from tests.agent.conftest import snapshot as of_the_kernel

from .test_installer import NEWER, REQUEST, inside, make, read, snapshot, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TOP = Path(__file__).parents[3]


@pytest.fixture(params=["debian", "sles", "al2023", "bare"])
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> RootFs:
    """The root of each distribution."""
    return make(tmp_path / "root", request.param)


def run(tree: RootFs, *options: str) -> subprocess.CompletedProcess[str]:
    """The script that was installed, by dash or what /bin/sh is, with nothing in the environment."""
    argv = ["/bin/sh", inside(tree, f"{layout.HOME}/uninstall"), *options, tree.root]
    return subprocess.run(argv, capture_output=True, text=True, env={}, timeout=60, check=False)


def test_the_script_leaves_the_tree_as_it_was(tree: RootFs) -> None:
    """Byte for byte what `uninstall` leaves, also after an upgrade."""
    before = snapshot(tree)
    install(tree, REQUEST)
    install(tree, NEWER)

    done = run(tree)

    assert (0, "") == (done.returncode, done.stderr)
    assert before == snapshot(tree)


def test_a_dry_run_prints_what_is_done_and_does_nothing(tree: RootFs) -> None:
    """The same lines as the run that follows."""
    install(tree, REQUEST)
    before = snapshot(tree)

    planned = run(tree, "--dry-run")

    assert (0, "") == (planned.returncode, planned.stderr)
    assert before == snapshot(tree)
    assert planned.stdout == run(tree).stdout


def test_a_file_that_was_changed_is_kept_and_named(tmp_path: Path) -> None:
    """The administrator's configuration, and another program's file in a directory of the agent's."""
    tree = make(tmp_path / "root", "debian")
    install(tree, REQUEST)
    write(tree, layout.CONFIG, "[interface.eth1]\n", 0o644)
    write(tree, "/etc/network/if-post-down.d/other", "#!/bin/sh\n")

    done = run(tree)

    assert 1 == done.returncode
    assert [
        f"kept: {tree.root}/etc/network/if-post-down.d: not empty",
        f"kept: {tree.root}{layout.CONFIG}: changed since it was installed",
        f"kept: {tree.root}/etc/ec2ident: not empty",
    ] == done.stderr.splitlines()
    assert "[interface.eth1]\n" == read(tree, layout.CONFIG)
    assert not os.path.exists(inside(tree, MANIFEST))


def test_a_link_that_leads_out_of_an_image_is_not_followed(tmp_path: Path) -> None:
    """/sbin may be a link to /usr/sbin, which is this node's own; the program itself follows it inside the image."""
    tree = make(tmp_path / "root", "rhel7")
    install(tree, REQUEST)

    done = run(tree)

    assert 1 == done.returncode
    for name in ("ifup-local", "ifdown-local"):
        assert f"kept: /sbin/{name}: a link leads out of {tree.root}\n" in done.stderr
        assert os.path.exists(inside(tree, f"/usr/sbin/{name}"))


def test_without_a_manifest_nothing_is_removed(tmp_path: Path) -> None:
    """What looks like the agent's and is in no manifest is not the agent's."""
    tree = make(tmp_path / "root", "debian")
    install(tree, REQUEST)
    os.remove(inside(tree, MANIFEST))
    before = snapshot(tree)

    done = run(tree)

    assert (0, f"{inside(tree, MANIFEST)}: not there: nothing is installed\n") == (done.returncode, done.stderr)
    assert before == snapshot(tree)


#: /etc and /run of the namespace alone: the script acts on the node itself here.
_NODE = """
mount -t tmpfs -o mode=755 x /mnt
mount -t tmpfs -o mode=755 x /run
mkdir /mnt/up /mnt/work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/up,workdir=/mnt/work x /etc
rm -rf /etc/ec2ident /etc/iproute2/rt_tables.d/ec2ident.conf
(cd / && find etc run | sort) >"$WORK/before"
mkdir -p /etc/ec2ident
cat >/etc/ec2ident/agent.toml <<'TOML'
[interface.eth1]
subnet = ["10.0.1.0/24", "fd00:0:0:1::/64"]
router = ["10.0.1.1", "fd00:0:0:1::1"]
table = 100
table_name = "MYHA"
[[overlay]]
address = "192.168.10.10/32"
device = "eth0"
label = "eth0:1"
TOML
"$PYTHON" agent/bin/ec2ident-agent install --program /usr/bin/true >/dev/null
"$PYTHON" agent/bin/ec2ident-agent apply
ip -4 rule >"$WORK/applied"
rm /etc/ec2ident/agent.toml
env -i /bin/sh /etc/ec2ident/uninstall
(cd / && find etc run | sort) >"$WORK/after"
"""


@pytest.mark.root
def test_the_script_removes_rules_routes_and_addresses_of_this_node(node: str, tmp_path: Path) -> None:
    """On a real kernel, both families; objects of other programs stay, and a rule of another protocol number too."""
    ip("rule add from 10.9.0.0/16 table 100 priority 150")
    ip("route add 10.9.0.0/16 via 10.0.0.1 dev eth0")
    before = of_the_kernel()

    done = in_a_mount_namespace(_NODE, tmp_path)

    assert (0, 0) == (done.returncode, done.stderr.count("kept")), done.stderr
    assert "from 10.0.1.0/24 lookup" in (tmp_path / "applied").read_text()
    assert before == of_the_kernel()
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


#: The directory of the configuration was there before the install.
_BY_THE_PROGRAM = _NODE.replace(
    "env -i /bin/sh /etc/ec2ident/uninstall",
    'for verb in "revert --all" uninstall; do "$PYTHON" agent/bin/ec2ident-agent $verb; done; rmdir /etc/ec2ident',
)


@pytest.mark.root
@pytest.mark.usefixtures("node")
def test_the_program_leaves_nothing_in_etc_and_run_either(tmp_path: Path) -> None:
    """`revert --all` and `uninstall`, as documented: locks and caches are gone with the hooks."""

    done = in_a_mount_namespace(_BY_THE_PROGRAM, tmp_path)

    assert (0, 0) == (done.returncode, done.stderr.count("kept")), done.stderr
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


@pytest.mark.root
def test_a_state_directory_that_was_chosen_keeps_the_files_of_others(node: str, tmp_path: Path) -> None:
    """`--state-dir` may name a directory that has more in it; the agent's files there go, and nothing else."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "others").write_text("precious\n")
    script = _NODE
    for verb in ("install", "apply"):
        script = script.replace(
            f"ec2ident-agent {verb}", f"ec2ident-agent {verb} --state-dir {shlex.quote(str(state))}"
        )

    done = in_a_mount_namespace(script, tmp_path)

    assert (0, 0) == (done.returncode, done.stderr.count("kept")), done.stderr
    assert "from 10.0.1.0/24 lookup" in (tmp_path / "applied").read_text()
    assert ["others"] == [path.name for path in state.iterdir()]
    assert "10.0.1.0/24" not in ip("rule")


def in_a_mount_namespace(script: str, work: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script in this network namespace and mounts of its own."""
    argv: Sequence[str] = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script]
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "WORK": str(work),
        "PYTHONPATH": f"{TOP}:{TOP / 'agent'}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return subprocess.run(argv, cwd=TOP, env=environment, capture_output=True, text=True, timeout=60, check=False)
