"""The service at EC2's own addresses, in a network namespace of its own: what command and library make of it."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from ec2ident import Imds, Level, detect, verify
from ec2ident.host import Host
from ec2ident.imds.connect import METADATA_IPV4, METADATA_IPV6
from ec2ident.model import Kind
from ec2ident.proof.evidence_files import load
from ec2ident.testing import BEHAVIOURS, Authority, Instance, MetadataService
from tests.lab.namespace import Namespace, unique

from .error_modes import ERROR_MODES, misbehave
from .machines import EC2, LOOK_ALIKES, NITRO, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

pytest_plugins = ["ec2ident.testing.pytest_plugin"]
pytestmark = pytest.mark.root

TOP = Path(__file__).parents[2]
GENUINE = TOP / "tests" / "vectors" / "real" / "cloudinit-us-east-2-2018"
CODES = {"yes": 0, "no": 1, "unknown": 3, "suspect": 4}


@pytest.fixture
def here() -> Iterator[Namespace]:
    namespace = Namespace(unique("address"))
    Namespace.add_all(namespace)
    try:
        yield namespace
    finally:
        Namespace.remove_all(namespace)


def listener(here: Namespace, address: str = METADATA_IPV4.address) -> socket.socket:
    """A socket that listens at the service's own address, inside."""
    six = ":" in address
    here.ip(f"-6 addr add {address}/128 dev lo nodad" if six else f"addr add {address}/32 dev lo")
    with here.entered():
        return socket.create_server((address, 80), family=socket.AF_INET6 if six else socket.AF_INET)


@pytest.fixture
def service(here: Namespace, metadata_authority: Authority) -> Iterator[MetadataService]:
    """The instance of the table's Nitro machine."""
    instance = Instance(instance_id=NITRO["board_asset_tag"], instance_type="t3.micro")
    with MetadataService(instance, listeners=[listener(here)], authority=metadata_authority) as service:
        yield service


def genuine(service: MetadataService) -> MetadataService:
    """Serve what AWS once signed: it verifies with the keys that the command has."""
    for file in GENUINE.iterdir():
        name = file.name.partition(".")[0]
        if name in ("document", *Kind):
            service.behave("body", path=f"/{name}$", body=file.read_text())
    return service


def command(here: Namespace, root: str, *arguments: str) -> CompletedProcess[str]:
    """The command in a process of its own, inside, with the machine's /sys in the place of this one's."""
    inside = ["sh", "-c", 'mount --bind "$0" /sys && exec "$@"', f"{root}/sys", sys.executable, "-m", "ec2ident"]
    return here.run(*inside, *arguments, cwd=TOP)


@pytest.mark.full
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_each_error_mode_has_its_exit_code(
    name: str, here: Namespace, service: MetadataService, tmp_path: Path
) -> None:
    """The whole command, against a service that serves a genuine document where it serves one at all."""
    misbehave(genuine(service), name)
    due = ERROR_MODES[name]
    timeout = 2 * due.timeout  # the command loads its libraries within it
    began = time.monotonic()

    done = command(here, build(tmp_path, LOOK_ALIKES["no firmware"]), f"--timeout={timeout}", "--level=proof", "--json")

    verdict = json.loads(done.stdout)
    assert (due.answer, due.reason.value) == (verdict["answer"], verdict["reason"]), verdict["because"]
    assert (CODES[due.answer], "") == (done.returncode, done.stderr)
    assert verdict["elapsed"] < 2 * timeout
    assert time.monotonic() - began < 10 * timeout


@pytest.mark.parametrize("address", [METADATA_IPV4.address, METADATA_IPV6.address])
def test_either_address_alone_is_a_proof(
    address: str, here: Namespace, metadata_authority: Authority, tmp_path: Path
) -> None:
    """An instance without IPv4 has the service at fd00:ec2::254 only."""
    with MetadataService(listeners=[listener(here, address)], authority=metadata_authority) as service:
        genuine(service)
        done = command(here, build(tmp_path, EC2["xen pv"]), "--level", "proof", "--timeout", "30")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("yes: AWS's signature verifies over the identity document of i-075f088c72ad3271c")


@pytest.mark.parametrize("behaviour", ["hang-up", "throttled", "status", "reset"])
def test_a_late_service_is_waited_for_where_firmware_is_strong(
    behaviour: str, here: Namespace, service: MetadataService, tmp_path: Path
) -> None:
    """As at boot: what passes by itself is tried again until it has passed, within the timeout."""
    service.behave(behaviour, times=3)
    host = Host(build(tmp_path, EC2["nitro t3.micro, AL2023"]), environ={}, platform="linux")

    with here.entered():
        verdict = detect(Level.PROOF, 30.0, host=host, trust=service.trust)

    assert Level.PROOF == verdict.level, verdict.explain()
    failed, rest = service.requests[:3], service.requests[3:]
    assert {"/latest/api/token"} == {one.path for one in failed}
    assert ["/latest/api/token", "/latest/dynamic/instance-identity/rsa2048"] == [one.path for one in rest]


def test_a_service_that_starts_late_is_waited_for(
    here: Namespace, metadata_authority: Authority, tmp_path: Path
) -> None:
    """Refused at first: the service does not listen yet."""
    waiting = listener(here)
    waiting.close()
    host = Host(build(tmp_path, EC2["nitro t3.micro, AL2023"]), environ={}, platform="linux")
    late: list[MetadataService] = []

    def start() -> None:
        with here.entered():
            late.append(MetadataService(host=METADATA_IPV4.address, port=80, authority=metadata_authority).start())

    timer = threading.Timer(0.5, start)
    timer.start()
    try:
        trust = metadata_authority.trust("eu-west-1", "aws")
        with here.entered():
            verdict = detect(Level.PROOF, 30.0, host=host, trust=trust)
    finally:
        timer.join()
        late[0].stop()

    assert verdict, verdict.explain()


@pytest.mark.parametrize("machine", ["xen pv", "no firmware"])
@pytest.mark.parametrize("behaviour", ["hang-up", "throttled", "status"])
def test_a_failure_is_repeated_twice_and_no_more_without_strong_firmware(
    behaviour: str, machine: str, here: Namespace, service: MetadataService, tmp_path: Path
) -> None:
    """A request that failed may succeed the next time; a service that goes on failing is not waited for."""
    service.behave(behaviour, times=4)
    machines = {**EC2, **LOOK_ALIKES}
    host = Host(build(tmp_path, machines[machine]), environ={}, platform="linux")

    with here.entered():
        verdict = detect(Level.PROOF, 30.0, host=host, trust=service.trust)

    assert "unknown" == verdict.answer
    assert ["/latest/api/token"] * 3 == [one.path for one in service.requests]


@pytest.mark.parametrize("behaviour", ["kiam", "go", "envoy", "silence", "captive-portal"])
@pytest.mark.parametrize("machine", ["nitro t3.micro, AL2023", "no firmware"])
def test_a_proxy_on_ipv4_does_not_hide_ec2_on_ipv6(
    behaviour: str, machine: str, here: Namespace, metadata_authority: Authority, tmp_path: Path
) -> None:
    """Agents in a pod redirect 169.254.169.254 alone (uswitch/kiam#359, jtblin/kube2iam#345)."""
    machines = {**EC2, **LOOK_ALIKES}
    host = Host(build(tmp_path, machines[machine]), environ={}, platform="linux")
    instance = Instance(instance_id=NITRO["board_asset_tag"], instance_type="t3.micro")
    with MetadataService(listeners=[listener(here)]) as proxy:
        proxy.behave(behaviour)
        six = listener(here, METADATA_IPV6.address)
        with MetadataService(instance, listeners=[six], authority=metadata_authority) as service, here.entered():
            verdict = detect(Level.PROOF, 30.0, host=host, trust=service.trust)

    assert verdict, verdict.explain()


def test_a_mock_on_ipv4_does_not_hide_ec2_on_ipv6(
    here: Namespace, metadata_authority: Authority, tmp_path: Path
) -> None:
    """It gives tokens without EC2's name, and has no signed item (aws/amazon-ec2-metadata-mock)."""
    host = Host(build(tmp_path, LOOK_ALIKES["no firmware"]), environ={}, platform="linux")
    four = listener(here)
    mock = threading.Thread(target=answer_as_a_mock, args=(four,), daemon=True)
    mock.start()
    with (
        MetadataService(listeners=[listener(here, METADATA_IPV6.address)], authority=metadata_authority) as service,
        here.entered(),
    ):
        alone = detect(Level.PROOF, 30.0, host=host, imds=Imds(endpoints=METADATA_IPV4), trust=service.trust)
        both = detect(Level.PROOF, 30.0, host=host, trust=service.trust)
    four.shutdown(socket.SHUT_RDWR)
    four.close()

    assert ("unknown", Level.NONE) == (alone.answer, alone.level), alone.explain()
    assert both, both.explain()


def answer_as_a_mock(listening: socket.socket) -> None:
    """A token for PUT, 404 for the rest, and no Server header."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            put = connection.recv(65536).startswith(b"PUT")
            body = b"x" * 56 if put else b""
            line = b"HTTP/1.1 200 OK" if put else b"HTTP/1.1 404 Not Found"
            connection.sendall(line + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def saved(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_evidence_is_what_the_service_has_and_verifies_elsewhere(
    here: Namespace, service: MetadataService, tmp_path: Path
) -> None:
    """Byte for byte, with the facts beside it; the command verifies its own directory, and no token is in it."""
    genuine(service)
    folder = tmp_path / "evidence"

    done = command(here, build(tmp_path / "root", EC2["xen pv"]), "evidence", "--save", str(folder), "--timeout", "30")

    assert (0, "") == (done.returncode, done.stderr)
    assert sorted(map(str, folder.iterdir())) == sorted(done.stdout.splitlines())
    contents = saved(folder)
    assert {"document", "evidence.json", *Kind} == {*contents}
    assert (GENUINE / "document.json").read_bytes() == contents["document"]
    assert "i-075f088c72ad3271c" in json.loads(contents["evidence.json"])["because"]
    elsewhere = command(here, str(tmp_path / "root"), "verify", str(folder))
    assert (0, 3) == (elsewhere.returncode, elsewhere.stdout.count("signed by AWS for us-east-2"))
    again = command(here, str(tmp_path / "root"), "evidence", "--save", str(folder), "--timeout", "30")
    assert (2, "") == (again.returncode, again.stdout)
    assert "already there; name another directory" in again.stderr


def test_evidence_that_does_not_verify_here_is_saved_for_who_can_tell(
    here: Namespace, service: MetadataService, tmp_path: Path
) -> None:
    """Signed with keys that are not AWS's: suspect here, and proven where those keys are trusted."""
    folder = tmp_path / "evidence"
    root = build(tmp_path / "root", EC2["nitro t3.micro, AL2023"])

    done = command(here, root, "evidence", "--save", str(folder), "--timeout", "30")

    assert 4 == done.returncode
    assert done.stderr.startswith("ec2ident: saved, but no proof: firmware says Amazon EC2, but the signed document")
    found = load([str(folder)])
    proven = [verify(found.items[kind], kind=kind, document=found.document, trust=service.trust) for kind in Kind]
    assert [NITRO["board_asset_tag"]] * 3 == [identity.document.instance_id for identity in proven]
    # A token of this service begins with AQAEA, and one was given.
    assert any(one.token == "valid" for one in service.requests)
    assert not [name for name, content in saved(folder).items() if b"AQAEA" in content]


def test_evidence_has_one_deadline_over_everything(here: Namespace, service: MetadataService, tmp_path: Path) -> None:
    """The first item that comes too late takes the rest of the time, and the items after it are not asked for.

    On a busy machine the time may end before `document`, in the detection, which asks for the signed items by itself.
    """
    folder = tmp_path / "evidence"
    genuine(service).behave("drip", path="/(document|pkcs7|signature)$", seconds=1.0)

    done = command(here, build(tmp_path / "root", EC2["xen pv"]), "evidence", "--save", str(folder), "--timeout", "6")

    asked = [one.path.rpartition("/")[2] for one in service.requests]
    late = asked[asked.index("document") :] if "document" in asked else []
    assert not {"pkcs7", "signature"} & {*late}
    assert "evidence.json" in saved(folder)
    assert not late or "document: left out: metadata service: " in done.stderr


@pytest.mark.parametrize(("machine", "code"), [("no firmware", 1), ("hetzner", 1), ("nitro t3.micro, AL2023", 3)])
def test_evidence_without_a_service_is_the_facts_and_why(
    machine: str, code: int, here: Namespace, tmp_path: Path
) -> None:
    """A directory all the same: the facts are evidence too."""
    folder = tmp_path / "evidence"
    machines = {**EC2, **LOOK_ALIKES}

    done = command(
        here, build(tmp_path / "root", machines[machine]), "evidence", "--save", str(folder), "--timeout", "1"
    )

    assert (code, ["evidence.json"]) == (done.returncode, [*saved(folder)])
    assert done.stderr.startswith("ec2ident: saved, but no proof: ")
