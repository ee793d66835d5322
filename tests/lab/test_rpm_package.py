"""The .rpm of each family, built by rpmbuild and installed by rpm: its files, and what its scripts ask of systemd.

The private environment is left out, which the Debian package has in the same form: hooks, units and man pages remain.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ec2ident_agent.install import package
from tests.lab.enclosure import Enclosure
from tests.lab.vpc import Vpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not shutil.which("rpmbuild"), reason="needs rpmbuild (Debian package rpm)"),
]

TOP = Path(__file__).parents[2]
BOTH = {
    "/etc/ec2ident/agent.toml",
    "/etc/iproute2/rt_protos.d/ec2ident.conf",
    "/usr/bin/ec2ident-agent",
    "/usr/lib/NetworkManager/dispatcher.d/90-ec2ident",
    "/usr/lib/NetworkManager/dispatcher.d/pre-down.d/90-ec2ident",
    "/usr/lib/ec2ident/hook",
    "/usr/lib/ec2ident/keepalived-notify",
    *(f"/usr/lib/ocf/resource.d/ec2ident/{name}" for name in ("overlay", "eni", "private", "eip", "dns")),
    "/usr/lib/systemd/system/ec2ident-agent-watch.service",
    "/usr/lib/systemd/system/ec2ident-agent.service",
    "/usr/lib/systemd/system/ec2ident-agent@.service",
    "/usr/lib/udev/rules.d/90-ec2ident.rules",
    "/usr/share/bash-completion/completions/ec2ident-agent",
    "/usr/share/fish/vendor_completions.d/ec2ident-agent.fish",
    "/usr/share/man/man8/ec2ident-agent.8",
    "/usr/share/zsh/site-functions/_ec2ident-agent",
}
#: wicked and the older scripts of SUSE read them there; RHEL has no such directory.
OF_SUSE = {
    "/etc/sysconfig/network/scripts/ec2ident",
    "/etc/sysconfig/network/if-up.d/ec2ident",
    "/etc/sysconfig/network/if-down.d/ec2ident",
}
UNITS = "ec2ident-agent.service ec2ident-agent-watch.service"


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str, str], Path]:
    """Build the package of a family and a revision."""

    def built(family: str, revision: str = "1") -> Path:
        work, dist = tmp_path / f"work{revision}", tmp_path / f"dist{revision}"
        stage = work / "stage"
        for directory in (stage / "usr/bin", stage / "usr/lib/ec2ident/bin", dist):
            directory.mkdir(parents=True)
        shutil.copytree(TOP / "share", stage / "usr/share")
        (stage / package.PROGRAM.lstrip("/")).write_text(f"#!{package.PREFIX}/bin/python3\n")
        (stage / "usr/bin/ec2ident-agent").symlink_to("../lib/ec2ident/bin/ec2ident-agent")
        package.add(str(stage), family)
        names = {"work": work, "stage": stage, "dist": dist, "family": family, "minor": "3.11"}
        version = {"version": "0", "revision": revision, "SOURCE_DATE_EPOCH": "1795861772"}
        environment = {"PATH": os.environ["PATH"], **{key: str(value) for key, value in names.items()}, **version}
        argv = ["/bin/sh", "-euc", ". packaging/rpm/pack"]
        done = subprocess.run(argv, cwd=TOP, env=environment, capture_output=True, text=True, timeout=120)
        assert 0 == done.returncode, done.stderr
        (found,) = dist.glob("*.rpm")
        return found

    return built


def ask(rpm: Path, *words: str) -> list[str]:
    done = subprocess.run(["rpm", "--query", "--package", *words, str(rpm)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(("family", "also"), [("suse", OF_SUSE), ("redhat", set())])
def test_the_files_are_where_the_distribution_looks(build: Callable[[str], Path], family: str, also: set[str]) -> None:
    """Each hook and unit in the directory for packages; in /etc only what has no other place, kept on an upgrade."""
    found = build(family)
    files = set(ask(found, "--list"))

    assert BOTH | also <= files
    assert set() == (OF_SUSE - also) & files
    assert {path for path in BOTH | also if path.startswith("/etc/") and "/if-" not in path} == set(
        ask(found, "--configfiles")
    )
    # Of directories of others none: rpm would remove or change them.
    assert set() == {"/usr/bin", "/usr/lib/systemd/system", "/etc", "/usr/share/man/man8"} & files
    assert "/usr/bin/python3.11" in ask(found, "--requires")


@pytest.mark.root
def test_rpm_installs_upgrades_and_erases_it(build: Callable[[str, str], Path]) -> None:
    """The watch is restarted by an upgrade and stopped by the erasure; no script touches what is applied."""
    packages = build("suse", "1"), build("suse", "2")
    with Vpc() as vpc, Enclosure(vpc.node) as inside:
        # Over this machine's own, because rpm gives its scripts a PATH without /usr/local.
        inside.write("/usr/bin/systemctl", '#!/bin/sh\necho "$*" >>/run/systemctl.log\n', 0o755)
        inside.make_directories("/run/systemd/system", "/run/rpm")
        before = vpc.node.snapshot()

        def asked(*words: str, said: str = "") -> list[str]:
            """What rpm's scripts ask of systemd, and what rpm says itself."""
            inside.write("/run/systemctl.log", "")
            done = inside.run("rpm", "--force-debian", "--nodeps", "--dbpath", "/run/rpm", *words)
            assert (0, said) == (done.returncode, done.stderr)
            return inside.text("/run/systemctl.log").splitlines()

        assert ["daemon-reload", f"--no-reload preset {UNITS}"] == asked("--install", str(packages[0]))
        assert inside.path("/usr/lib/ec2ident/hook").exists()
        inside.write("/etc/ec2ident/agent.toml", "# changed\n")
        upgraded = asked("--upgrade", str(packages[1]))
        assert ["daemon-reload", "daemon-reload", "try-restart ec2ident-agent-watch.service"] == upgraded
        assert "# changed\n" == inside.text("/etc/ec2ident/agent.toml")
        kept = "warning: /etc/ec2ident/agent.toml saved as /etc/ec2ident/agent.toml.rpmsave\n"
        assert [f"--no-reload disable {UNITS}", "stop ec2ident-agent*.service", "daemon-reload"] == asked(
            "--erase", "ec2ident", said=kept
        )
        assert not inside.path("/usr/lib/ec2ident").exists()
        assert before == vpc.node.snapshot()
