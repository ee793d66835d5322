"""A machine that is pretended: every entry point meets it, so do started processes, and nothing else is reached."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ec2ident
from ec2ident import Imds, Level, Reason, TrustStore, standin
from ec2ident.errors import FirmwareError, ImdsError
from ec2ident.testing import Instance, Interface, MetadataService, pretend
from ec2ident.testing.firmware import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ec2ident.testing import Authority

pytest_plugins = ["pytester"]

TOP = Path(__file__).parents[3]
VARIABLES = (
    *("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"),
    "PYTHONPATH",
)


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ec2ident", *words]
    return subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is started finds this source."""
    monkeypatch.setenv("PYTHONPATH", f"{TOP}{os.pathsep}{TOP / 'agent'}")


def test_every_entry_point_meets_the_instance(on_ec2: MetadataService) -> None:
    """Firmware, metadata service, interfaces and keys are one instance's, so the machine proves itself."""
    verdict = ec2ident.detect(Level.BOUND)

    assert ec2ident.is_ec2()
    assert (Level.BOUND, True) == (verdict.level, bool(verdict))
    assert on_ec2.instance.instance_id == ec2ident.prove().document.instance_id
    imds = Imds()
    assert on_ec2.instance.region == imds.region
    signed = imds.identity_item("rsa2048")
    assert signed is not None
    assert on_ec2.instance.account_id == ec2ident.verify(signed, kind="rsa2048").document.account_id
    assert on_ec2.instance.instance_id == Imds(endpoints="http://169.254.169.254").instance_id


def test_an_environment_that_switches_the_service_off_is_not_the_tests(
    monkeypatch: pytest.MonkeyPatch, metadata_authority: Authority
) -> None:
    """CI machines often set it; a test that wants it sets it inside."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pretend(authority=metadata_authority):
        assert ec2ident.prove()
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(ImdsError) as caught:
            ec2ident.prove()
    assert Reason.NETWORK_DISABLED is caught.value.reason


def test_elsewhere_every_entry_point_says_no(not_on_ec2: None) -> None:
    """Another vendor's firmware settles it, and the metadata service cannot be reached."""
    assert not ec2ident.is_ec2()
    assert "no" == ec2ident.detect(Level.BOUND).answer
    with pytest.raises(FirmwareError, match="another vendor"):
        ec2ident.prove()
    with pytest.raises(ImdsError) as caught:
        Imds().get("meta-data/instance-id")
    assert Reason.NO_ROUTE is caught.value.reason
    with pytest.raises(ImdsError) as caught:
        Imds.from_environment().get("meta-data/instance-id")
    assert Reason.REFUSED is caught.value.reason


def test_the_command_in_another_process_meets_the_instance(on_ec2: MetadataService) -> None:
    """`ec2ident show`, `evidence` and `verify`, with the environment of the test."""
    done = command("show", "--level", "bound", "--timeout", "20")
    assert (0, "") == (done.returncode, done.stderr)
    assert on_ec2.instance.instance_id in done.stdout


def test_the_command_in_another_process_says_no_elsewhere(not_on_ec2: None) -> None:
    """Exit code 1, as on any other machine."""
    done = command("show", "--level", "bound")
    assert (1, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("no: ")


def test_evidence_of_another_process_verifies_in_a_third(on_ec2: MetadataService, tmp_path: Path) -> None:
    """The keys are pretended, too, and the rest of the trust store stays."""
    saved = command("evidence", "--save", str(tmp_path / "e"), "--timeout", "20")
    verified = command("verify", str(tmp_path / "e"))

    assert (0, 0) == (saved.returncode, verified.returncode), saved.stderr + verified.stderr
    assert len(TrustStore.bundled().regions("rsa2048")) > 30


def test_a_sitecustomize_of_the_user_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_ec2: object
) -> None:
    """The library's stands before it in the path, and hands on."""
    (tmp_path / "sitecustomize.py").write_text("import os; os.environ['SEEN'] = 'yes'\n", encoding="utf-8")
    path = f"{os.environ['PYTHONPATH']}{os.pathsep}{tmp_path}"
    code = "import os, ec2ident; print(os.environ['SEEN'], ec2ident.is_ec2())"

    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )

    assert "yes True" == done.stdout.strip()


def test_a_process_that_outlives_the_test_reaches_nothing(metadata_authority: Authority) -> None:
    """The file that tells it of the pretence is gone; it does not fall back to EC2's true addresses."""
    with pretend(authority=metadata_authority):
        outlived = dict(os.environ)
        site = outlived["PYTHONPATH"].split(os.pathsep)[0]
        kept = Path(site, "sitecustomize.py").read_text(encoding="utf-8")
    Path(site).mkdir(parents=True)
    try:
        Path(site, "sitecustomize.py").write_text(kept, encoding="utf-8")
        code = "from ec2ident import Imds; Imds().get('meta-data/mac')"
        done = subprocess.run([sys.executable, "-c", code], env=outlived, capture_output=True, text=True)
    finally:
        # Python may have compiled the module into a folder beside it.
        shutil.rmtree(Path(site).parent)
    assert "no route to host" in done.stderr


def test_afterwards_everything_is_as_before(metadata_authority: Authority) -> None:
    """Environment, stand-ins and files, also when the test fails, and when one pretence is inside another."""
    before = {name: os.environ.get(name) for name in VARIABLES}

    with pretend(None, authority=metadata_authority):
        with contextlib.suppress(ZeroDivisionError), pretend(authority=metadata_authority) as inner:
            assert inner.endpoint in os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
            top = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0]).parent
            assert ec2ident.is_ec2()
            raise ZeroDivisionError
        assert not ec2ident.is_ec2()

    assert before == {name: os.environ.get(name) for name in VARIABLES}
    assert (None, None, None) == (standin.dial, standin.host, standin.trust)
    assert not top.exists()


def test_the_instance_can_change_while_it_is_pretended(on_ec2: MetadataService) -> None:
    """Region, keys, addresses and firmware's word for it: what the service is told counts at once."""
    eth0 = Interface(private_ips=("10.0.0.77",))
    on_ec2.instance = Instance(instance_id="i-0fedcba9876543210", region="us-west-2", interfaces=(eth0,))

    identity = ec2ident.prove()
    done = command("show", "--level", "bound", "--timeout", "20")

    assert "us-west-2" == identity.region
    assert "10.0.0.77" == str(identity.document.private_ip)
    assert (0, "") == (done.returncode, done.stderr), done.stdout


def test_a_service_that_misbehaves_is_seen_by_the_entry_points(on_ec2: MetadataService) -> None:
    """The behaviours of the service reach `detect`, and firmware alone is still a claim."""
    on_ec2.behave("disabled")
    verdict = ec2ident.detect(Level.PROOF, timeout=20)
    assert (Level.CLAIM, "unknown") == (verdict.level, verdict.answer)

    on_ec2.reset()
    on_ec2.behave("foreign-signatures")
    assert "suspect" == ec2ident.detect(Level.PROOF, timeout=20).answer

    on_ec2.stop()
    with pytest.raises(ImdsError) as caught:
        Imds().get("meta-data/mac")
    assert Reason.NO_ROUTE is caught.value.reason


@pytest.mark.parametrize("firmware", KINDS)
def test_firmware_by_its_name(firmware: str, metadata_authority: Authority) -> None:
    """An instance with each of them proves itself; only EC2's own firmware is a claim without the network."""
    with pretend(firmware=firmware, authority=metadata_authority):
        expected = {"nitro": "yes", "xen": "yes", "qemu": "no"}.get(firmware, "unknown")

        assert expected == ec2ident.detect(network=False).answer
        assert (firmware != "qemu") == bool(ec2ident.detect(Level.PROOF))


def test_an_instance_in_china_or_on_another_architecture(metadata_authority: Authority) -> None:
    """Each partition signs with its own types of key; the machine's architecture is the instance's."""
    for instance in (Instance(region="cn-north-1"), Instance(architecture="arm64"), Instance(region="us-gov-west-1")):
        with pretend(instance):
            assert instance.region == ec2ident.prove().region


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"firmware": "bogus"}, "firmware: 'bogus' is none of nitro, xen, qemu, none"),
        ({"firmware": {"vendor": "Amazon EC2"}}, "firmware: no field vendor"),
        ({"instance": None, "firmware": "nitro"}, "firmware: nitro is that of an instance"),
    ],
)
def test_a_machine_that_makes_no_sense_is_refused(how: dict[str, Any], complaint: str) -> None:
    """Before anything is changed."""
    with pytest.raises(ValueError, match=complaint), pretend(**how):
        pass
    assert standin.dial is None


#: Calls every entry point, with every spelling of EC2's addresses, and fails before a packet would leave.
EVERY_WAY = """
import contextlib, sys

def watch(event, arguments):
    if event == "socket.connect":
        address = str(arguments[1][0])
        if not address.startswith("127.") and address != "::1":
            print("would reach", address)
            raise SystemExit(1)

sys.addaudithook(watch)
import ec2ident
from ec2ident_agent.failover.aws.deadline import Deadline
from ec2ident_agent.failover.this_instance import metadata_service

ADDRESSES = ("169.254.169.254", "[fd00:ec2::254]", "[FD00:0EC2:0:0::254]", "[::ffff:169.254.169.254]",
             "169.254.169.254:8080")
ways = [
    lambda: ec2ident.is_ec2(),
    lambda: ec2ident.detect(ec2ident.Level.BOUND, 2),
    lambda: ec2ident.prove(2),
    lambda: ec2ident.Imds().get("meta-data/mac"),
    lambda: ec2ident.Imds.from_environment({}).get("meta-data/mac"),
    lambda: ec2ident.Imds.from_environment({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6"}).get("meta-data/mac"),
    lambda: metadata_service({}, Deadline(2))("meta-data/mac"),
    *(lambda a=a: ec2ident.Imds(endpoints="http://" + a).get("meta-data/mac") for a in ADDRESSES),
]
for way in ways:
    with contextlib.suppress(Exception):
        way()
print("nothing left")
"""


@pytest.mark.parametrize("instance", [Instance(), None])
@pytest.mark.parametrize("firmware", ["none", "qemu"])
def test_no_entry_point_reaches_the_true_addresses(
    instance: Instance | None, firmware: str, metadata_authority: Authority
) -> None:
    """Whatever address, family, port or environment is given, in this process's children too."""
    with pretend(instance, firmware=firmware, authority=metadata_authority):
        done = subprocess.run([sys.executable, "-c", EVERY_WAY], capture_output=True, text=True, timeout=100)

    assert (0, "nothing left\n", "") == (done.returncode, done.stdout, done.stderr)


def test_the_fixtures_are_found_without_registration(pytester: pytest.Pytester) -> None:
    """An entry point of the package; a conftest that names the module in the old way still works beside it."""
    pytester.makepyfile(
        """
        import ec2ident

        def test_on(on_ec2):
            assert ec2ident.prove().document.instance_id == on_ec2.instance.instance_id

        def test_off(not_on_ec2):
            assert not ec2ident.is_ec2()

        def test_service(metadata_service):
            assert ec2ident.Imds().instance_id == metadata_service.instance.instance_id
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)

    pytester.makeconftest('pytest_plugins = ["ec2ident.testing.pytest_plugin"]')
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)


def test_the_plugin_costs_a_project_nothing_before_a_fixture_is_used() -> None:
    """pytest loads it everywhere; the service, its event loop and cryptography are loaded by the fixtures."""
    code = (
        "import sys, pytest; before = set(sys.modules); import ec2ident.testing.pytest_plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {"ec2ident", "ec2ident.testing", "ec2ident.testing.pytest_plugin"} == set(done.stdout.split())


def test_the_machine_that_runs_the_tests_does_not_show_through(
    monkeypatch: pytest.MonkeyPatch, metadata_authority: Authority, tmp_path: Path
) -> None:
    """CI in a container of AWS's has variables that are a hint; a directory that is asked for is looked at."""
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4")

    with pretend(None, authority=metadata_authority):
        assert [] == [fact for fact in ec2ident.detect().facts if fact.name == "environment"]
    with pretend(authority=metadata_authority):
        assert not [fact for fact in ec2ident.detect(network=False, root=str(tmp_path)).facts if fact.value]
