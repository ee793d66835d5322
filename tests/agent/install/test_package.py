"""What a distribution's package has: the same hooks as `install` adds, in the places for packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ec2ident_agent.errors import RefusedError
from ec2ident_agent.install import installer, layout, package

from .test_installer import make

TOP = Path(__file__).parents[3]
DEBIAN = TOP / "packaging" / "debian"


def staged(place: Path, family: str) -> Path:
    """A package's tree with its hooks; the program is only a first line."""
    program = place / package.PROGRAM.lstrip("/")
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{package.PREFIX}/bin/python3\n")
    package.add(str(place), family)
    program.unlink()
    return place


def files(place: Path) -> dict[str, Path]:
    """The files and links below a directory, by their path on the node."""
    return {f"/{path.relative_to(place)}": path for path in place.rglob("*") if path.is_symlink() or path.is_file()}


def test_every_row_of_install_has_a_place_in_some_package() -> None:
    """A new manager in `ROWS` comes into the packages too, or is named here."""
    in_packages = {name for managers in package.FAMILIES.values() for name in managers}

    # wicked and networkd have no rows; /sbin/ifup-local is one file of the administrator's.
    assert {"wicked", "networkd", "network-scripts"} == layout.ROWS.keys() - in_packages


@pytest.mark.parametrize("family", package.FAMILIES)
def test_a_package_is_read_only_files_of_vendors_and_what_must_be_in_etc(tmp_path: Path, family: str) -> None:
    """What a manager reads in a directory for packages is there: no file in /etc that could be elsewhere."""
    found = files(staged(tmp_path, family))
    in_etc = {path for path in found if path.startswith("/etc/")}

    assert {path for path in in_etc if layout.vendor_path(path) != path} == set()
    assert {layout.CONFIG, "/etc/iproute2/rt_protos.d/ec2ident.conf"} <= in_etc
    assert {
        "/usr/lib/ec2ident/hook",
        "/usr/lib/ec2ident/keepalived-notify",
        "/usr/lib/NetworkManager/dispatcher.d/pre-down.d/90-ec2ident",
        "/usr/lib/ocf/resource.d/ec2ident/overlay",
        "/usr/lib/systemd/system/ec2ident-agent@.service",
        "/usr/lib/udev/rules.d/90-ec2ident.rules",
    } <= found.keys()
    # Units are enabled on the node; what is installed is in the package manager's own list.
    assert [] == [path for path in found if "target.wants" in path or path.endswith(("manifest.json", "uninstall"))]


@pytest.mark.parametrize("family", package.FAMILIES)
def test_hooks_of_a_package_call_what_the_package_has(tmp_path: Path, family: str) -> None:
    """Each path of the project in a hook or unit is a file of the package, or one that the agent makes or reads."""
    found = files(staged(tmp_path, family))
    named = {
        path
        for each in found.values()
        if not each.is_symlink()
        for path in re.findall(r"/(?:etc|usr)/[\w/.@-]*ec2ident[\w/.@-]*", each.read_text())
    }
    programs = {
        f"{package.PREFIX}/bin/{name}" for name in ("python3", "ec2ident-agent", "ec2ident-ocf", "ec2ident-failover")
    }

    assert set() == named - found.keys() - programs


def test_one_script_serves_every_interface_on_suse(tmp_path: Path) -> None:
    """`install` knows the interfaces of its node; a package does not: wicked calls compat:suse:ec2ident."""
    found = files(staged(tmp_path, "suse"))

    assert os.readlink(found["/etc/sysconfig/network/if-up.d/ec2ident"]) == "../scripts/ec2ident"
    script = tmp_path / "ec2ident"
    text = found["/etc/sysconfig/network/scripts/ec2ident"].read_text()
    script.write_text(text.replace(f"-x {package.PREFIX}/hook", "-x /bin/sh").replace(f"{package.PREFIX}/hook", "echo"))
    argv = ["/bin/sh", str(script), "eth7", "eth7", "-o", "post-up"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert "sysconfig eth7 post-up\n" == done.stdout


def run_install(root: Path, state_dir: str = "") -> tuple[int, list[str]]:
    """`install` as the command runs it, and what it prints."""
    said: list[str] = []

    def say(text: object) -> None:
        said.append(str(text))

    return installer.command(say=say, log=say, root=str(root), state_dir=state_dir), said


def test_install_adds_nothing_where_a_package_has_its_hooks(tmp_path: Path) -> None:
    """Each event would run the agent twice. Other paths than the package's cannot be had, and are refused."""
    staged(Path(make(tmp_path / "root", "debian").root), "debian")
    before = sorted(files(tmp_path / "root"))

    code, said = run_install(tmp_path / "root")

    assert (
        0,
        ["the distribution's package has installed all hooks and units: /usr/lib/ec2ident/hook; nothing to do"],
    ) == (
        code,
        said,
    )
    with pytest.raises(RefusedError, match="--state-dir"):
        run_install(tmp_path / "root", state_dir="/srv/state")
    assert before == sorted(files(tmp_path / "root"))


def test_the_doctor_knows_hooks_of_a_package(tmp_path: Path) -> None:
    """As it knows those of `install`: by their rows."""
    tree = make(tmp_path / "root", "debian")
    assert frozenset() == package.packaged(tree)

    staged(Path(tree.root), "debian")

    assert {layout.HOOK, "/etc/NetworkManager/dispatcher.d/90-ec2ident"} <= package.packaged(tree)


def test_the_version_is_in_one_place() -> None:
    """Templates have @VERSION@; scripts/package reads ec2ident/__init__.py."""
    listed = [path for path in (TOP / "packaging").rglob("*") if path.is_file()]
    listed += [TOP / "scripts" / name for name in ("package", "stage", "build")]

    assert [] == [path.name for path in listed if re.search(r"\b\d+\.\d+\.\d+\b", path.read_text(encoding="utf-8"))]


def test_scripts_of_the_package_are_clean(tmp_path: Path) -> None:
    """As dpkg runs them: with the script for a purge in its place."""
    text = (DEBIAN / "postrm").read_text().replace("@UNINSTALL@\n", package.uninstall_script())
    (tmp_path / "postrm").write_text(text)
    scripts = [tmp_path / "postrm", *(DEBIAN / name for name in ("postinst", "prerm", "pack")), TOP / "scripts/package"]
    check = [shutil.which("shellcheck"), "-x", "-P", str(TOP)] if shutil.which("shellcheck") else ["/bin/sh", "-n"]

    for script in scripts:
        done = subprocess.run([*map(str, check), str(script)], capture_output=True, text=True, timeout=60, cwd=TOP)
        assert 0 == done.returncode, done.stdout + done.stderr
    assert "flush protocol 236" in text
    assert "@" not in re.sub(r"ec2ident-agent@|\"\$@\"", "", text.replace("$@", ""))
