"""The whole way of a hook on a real kernel: from the manager's script to the rule, with one capability."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ec2ident_agent.install import layout
from ec2ident_agent.install.layout import InstallRequest
from ec2ident_agent.install.rootfs import RootFs
from tests.lab.recipe import CONFIGURATION

from .conftest import ip, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Hook = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.root

TOP = Path(__file__).parents[2]

#: Interfaces as the namespace has them, and names of tables that are not this machine's own.
PRIVATE = """
mount -t sysfs sysfs /sys
[ ! -d /etc/iproute2 ] || mount -t tmpfs names /etc/iproute2
"""


def with_capabilities(*names: str) -> tuple[str, ...]:
    """Root, but for every capability that is not named: as a unit's CapabilityBoundingSet= leaves it."""
    kept = ",".join(["-all", *(f"+{name}" for name in names)])
    return ("setpriv", f"--bounding-set={kept}", "--inh-caps=-all", "--no-new-privs")


@pytest.fixture
def hook(node: str, tmp_path: Path) -> Hook:
    """Runs a manager's script inside, with a /sys that shows the namespace's own interfaces."""
    program = tmp_path / "ec2ident-agent"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{TOP}:{TOP}/agent" exec "{sys.executable}" -m ec2ident_agent "$@"\n', encoding="utf-8"
    )
    config = tmp_path / "agent.toml"
    # Without a table's name, for which a directory would be made where there is none.
    config.write_text(CONFIGURATION.replace('table_name = "MYHA"\n', ""))
    config.chmod(0o644)
    request = InstallRequest(str(program), str(config), str(tmp_path / "state"))
    for name in ("hook", "networkmanager", "networkd-dispatcher"):
        text = layout.render(name, request, RootFs(str(tmp_path))).decode().replace(layout.HOOK, f'"{tmp_path}/hook"')
        (tmp_path / name).write_text(text)
    for path in (program, *(tmp_path / name for name in ("hook", "networkmanager", "networkd-dispatcher"))):
        path.chmod(0o755)

    def run(script: str, *argv: str, under: tuple[str, ...] = (), **environ: str) -> subprocess.CompletedProcess[str]:
        inside = ["unshare", "--mount", "sh", "-ec", f'{PRIVATE}\nexec "$@"', "sh", *under]
        return subprocess.run(
            [*inside, str(tmp_path / script), *argv],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environ},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_up_adds_the_configuration_and_down_removes_the_profile(hook: Hook) -> None:
    """And what was there before is there after; the overlay stays until revert."""
    before = snapshot()

    done = hook("networkmanager", "eth1", "up")
    assert (0, "") == (done.returncode, done.stdout)
    assert "[#] ip rule add from 10.0.1.0/24 table 100 priority 100" in done.stderr
    assert "10.0.1.0/24" in ip("rule show table 100")
    assert "192.168.10.10/32" in ip("address show dev eth0")

    hook("networkmanager", "eth1", "down")
    assert "" == ip("rule show table 100")
    ip("address del 192.168.10.10/32 dev eth0")
    assert before == snapshot()


def test_an_event_that_finds_everything_in_order_says_nothing(hook: Hook) -> None:
    """Managers call often; the journal of the system is not for that."""
    hook("networkmanager", "eth1", "up")

    done = hook("networkd-dispatcher", IFACE="eth1", STATE="configured")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_a_detached_interface_loses_its_rule_and_only_its_own(hook: Hook) -> None:
    """The kernel leaves both rules behind; one of them is another program's, and differs only in its mark."""
    hook("networkmanager", "eth1", "up")
    ip("rule add from 10.0.1.0/24 table 100 priority 100 protocol 201")
    ip("link del eth1")

    hook("networkd-dispatcher", IFACE="eth1", STATE="linger")

    assert ["100:", "from", "10.0.1.0/24", "lookup", "100", "proto", "201"] == ip("-N rule show table 100").split()


def test_a_link_that_is_set_down_keeps_no_rule_and_gets_nothing(hook: Hook) -> None:
    """Its routes are gone with the kernel's own hand; traffic from its addresses must not take another way."""
    hook("networkmanager", "eth1", "up")
    ip("link set eth1 down")

    hook("networkd-dispatcher", IFACE="eth1", STATE="off")
    assert "" == ip("rule show table 100")
    hook("networkmanager", "eth1", "dhcp4-change")
    assert "" == ip("rule show table 100")

    ip("link set eth1 up")
    hook("networkmanager", "eth1", "dhcp4-change")
    assert "10.0.1.0/24" in ip("rule show table 100")


def test_the_units_one_capability_is_enough(hook: Hook) -> None:
    """CAP_NET_ADMIN adds and removes; and without it there is an error, so the test can tell."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")

    done = hook("networkmanager", "eth1", "up", under=with_capabilities())
    assert 0 == done.returncode
    assert "Operation not permitted" in done.stderr

    hook("networkmanager", "eth1", "up", under=with_capabilities("net_admin"))
    assert "10.0.1.0/24" in ip("rule show table 100")
    hook("networkmanager", "eth1", "down", under=with_capabilities("net_admin"))
    assert "" == ip("rule show table 100")
