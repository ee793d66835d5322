"""A real cloud-init takes the service for EC2: its identification, and its datasource's crawl, in namespaces."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ec2ident.testing import Instance, Interface, MetadataService
from tests.lab.namespace import Namespace, unique
from tests.lab.packages import Unavailable, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.full, pytest.mark.root]

UUID = "ec2d1f00-1c1c-4a4a-8b8b-0123456789ab"
NITRO = {
    "sys_vendor": "Amazon EC2",
    "product_name": "m5.large",
    "product_uuid": UUID,
    "product_serial": UUID,
    "bios_vendor": "Amazon EC2",
    "bios_version": "1.0",
    "board_vendor": "Amazon EC2",
    "board_asset_tag": "i-0123456789abcdef0",
    "chassis_vendor": "Amazon EC2",
    "chassis_asset_tag": "Amazon EC2",
}
OTHER = {"sys_vendor": "ACME", "product_name": "Anvil", "product_uuid": UUID.replace("ec2d", "1234")}

FIRST = "06:00:00:00:00:00"
SECOND = "06:00:00:00:00:01"

#: A machine as cloud-init sees it: this namespace's interfaces, firmware strings from a directory, an empty /run. It
#: asks systemd-detect-virt whether it is in a container, where it believes no firmware; the tests may well run in one.
_MACHINE = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs run /run
mkdir /run/sys
mount -t sysfs sys /run/sys
mount -t tmpfs sys /sys
mkdir -p /sys/class/net /sys/devices /sys/class/dmi
mount --bind /run/sys/class/net /sys/class/net
mount --bind /run/sys/devices /sys/devices
cp -r "$1" /sys/class/dmi/id
mkdir /run/bin
printf '#!/bin/sh\ncase "$*" in *container*) exit 1 ;; *) echo kvm ;; esac\n' >/run/bin/systemd-detect-virt
chmod 755 /run/bin/systemd-detect-virt
shift
exec "$@"
"""

_CRAWL = """
import json
from cloudinit import distros, helpers, util
from cloudinit.sources.DataSourceEc2 import DataSourceEc2

paths = helpers.Paths({"cloud_dir": "/run/cloud", "run_dir": "/run/cloud-init"})
source = DataSourceEc2({}, distros.fetch("debian")("debian", {}, paths), paths)
found = source.get_data()
print(json.dumps({
    "found": found,
    "cloud": source.cloud_name,
    "instance": found and source.get_instance_id(),
    "region": found and source.region,
    "zone": found and source.availability_zone,
    "user-data": found and util.decode_binary(source.get_userdata_raw()),
    "keys": found and source.get_public_ssh_keys(),
    "identity": found and source.identity,
    "network": found and source.network_config,
}))
"""


class CloudInit:
    """cloud-init, unpacked and not installed, on a machine in a network namespace of its own."""

    def __init__(self, root: Path, namespace: Namespace, firmware: Path) -> None:
        self.root = root
        self.namespace = namespace
        self.firmware = firmware

    def has(self, strings: dict[str, str]) -> None:
        """Give the machine these firmware strings."""
        for name, text in strings.items():
            (self.firmware / name).write_text(f"{text}\n", encoding="ascii")

    def run(self, *argv: str) -> str:
        environment = {
            "PATH": "/run/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(self.root / "usr/lib/python3/dist-packages"),
            "PATH_ETC_CLOUD": str(self.root / "etc/cloud"),
            "PATH_VAR_LIB_CLOUD": "/run/cloud",
        }
        machine = ["unshare", "--mount", "sh", "-c", _MACHINE, "sh", str(self.firmware)]
        done = self.namespace.run(*machine, *argv, env=environment, timeout=60)
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    def identify(self) -> str:
        """What ds-identify decides at boot, before the network is up."""
        program = self.root / "usr/lib/cloud-init/ds-identify"
        return self.run("sh", "-c", f"{program} --force >/dev/null 2>&1; cat /run/cloud-init/cloud.cfg")

    def crawl(self) -> dict[str, object]:
        """What the datasource makes of the metadata service."""
        answer: dict[str, object] = json.loads(self.run("/usr/bin/python3", "-c", _CRAWL).splitlines()[-1])
        return answer


@pytest.fixture(scope="module")
def packages() -> Path:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs Debian's python3, which Debian's cloud-init runs on")
    try:
        return tree("cloud-init")
    except Unavailable as error:
        pytest.skip(f"needs Debian's cloud-init: {error}")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A network with two interfaces, and the metadata addresses on its loopback."""
    made = Namespace(unique("cloudinit"))
    Namespace.add_all(made)
    try:
        made.ip("address add 169.254.169.254/32 dev lo", "address add fd00:ec2::254/128 dev lo nodad")
        made.ip(
            f"link add eth0 address {FIRST} type veth peer name v0",
            f"link add eth1 address {SECOND} type veth peer name v1",
        )
        made.ip(*(f"link set {name} up" for name in ("eth0", "v0", "eth1", "v1")))
        yield made
    finally:
        Namespace.remove_all(made)


@pytest.fixture
def cloudinit(packages: Path, namespace: Namespace, tmp_path: Path) -> CloudInit:
    return CloudInit(packages, namespace, tmp_path)


@pytest.fixture
def imds(namespace: Namespace) -> Iterator[MetadataService]:
    """The service at its true addresses, inside."""
    with namespace.entered():
        sockets = [
            socket.create_server(("169.254.169.254", 80)),
            socket.create_server(("fd00:ec2::254", 80), family=socket.AF_INET6),
        ]
    instance = Instance(
        region="ap-southeast-2",
        user_data=b"#cloud-config\n{}\n",
        interfaces=(
            Interface(mac=FIRST, private_ips=("10.0.0.10", "10.0.0.11")),
            Interface(mac=SECOND, device_number=1, subnet="10.0.1.0/24", private_ips=("10.0.1.10",)),
        ),
    )
    with MetadataService(instance, listeners=sockets) as service:
        yield service


def test_ds_identify_finds_ec2(cloudinit: CloudInit) -> None:
    """By the firmware strings of Nitro alone."""
    cloudinit.has(NITRO)

    assert "datasource_list: [ Ec2, None ]" in cloudinit.identify()


def test_cloud_init_crawls_the_service_as_ec2s_own(cloudinit: CloudInit, imds: MetadataService) -> None:
    """Instance, region, user data, keys, the identity document, and the addresses of both interfaces."""
    cloudinit.has(NITRO)

    crawled = cloudinit.crawl()

    assert (True, "aws") == (crawled["found"], crawled["cloud"])
    assert (imds.instance.instance_id, "ap-southeast-2", "ap-southeast-2a") == tuple(
        crawled[name] for name in ("instance", "region", "zone")
    )
    assert ("#cloud-config\n{}\n", [imds.instance.public_key]) == (crawled["user-data"], crawled["keys"])
    identity = crawled["identity"]
    assert isinstance(identity, dict)
    assert (imds.instance.account_id, "10.0.0.10") == (identity["accountId"], identity["privateIp"])
    network = json.dumps(crawled["network"])
    assert all(text in network for text in (FIRST, SECOND, "10.0.0.11/24"))
    assert {"valid"} == {seen.token for seen in imds.requests if seen.method == "GET"}


def test_cloud_init_waits_for_a_service_that_is_late(cloudinit: CloudInit, imds: MetadataService) -> None:
    """At boot the service is not always there: it asks again until it is."""
    cloudinit.has(NITRO)
    imds.behave("hang-up", times=4)

    assert imds.instance.instance_id == cloudinit.crawl()["instance"]
    assert 4 == sum(seen.status is None for seen in imds.requests)


def test_cloud_init_finds_nothing_where_the_service_is_disabled(cloudinit: CloudInit, imds: MetadataService) -> None:
    """403 is an answer to it, and no reason to wait."""
    cloudinit.has(NITRO)
    imds.behave("disabled")

    assert (False, "aws") == tuple(cloudinit.crawl()[name] for name in ("found", "cloud"))
    assert {403} == {seen.status for seen in imds.requests}


def test_cloud_init_renews_a_token_that_was_forgotten(cloudinit: CloudInit, imds: MetadataService) -> None:
    """A 401 in the middle of the crawl makes it ask for another token."""
    cloudinit.has(NITRO)
    imds.behave("unauthorized", path="/meta-data/instance-type$", times=1)

    assert imds.instance.instance_id == cloudinit.crawl()["instance"]
    assert sum(seen.method == "PUT" for seen in imds.requests) >= 2


def test_ds_identify_does_not_find_ec2_on_another_machine(cloudinit: CloudInit) -> None:
    """The near miss: the machine decides, so the test above cannot pass by itself."""
    cloudinit.has(OTHER)

    assert "Ec2" not in cloudinit.identify()
