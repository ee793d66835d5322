"""The metadata service as a process of its own, its control socket, and the pytest fixtures."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ec2ident.model import Kind
from ec2ident.proof.trust import TrustStore
from ec2ident.testing import Exchange, MetadataService, Remote
from tests.lib.rawhttp import TTL, ask, get, token

pytest_plugins = ["pytester"]

TOP = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TOP)}
COMMAND = [sys.executable, "-m", "ec2ident.testing"]
MAC = "/latest/meta-data/mac"


@contextmanager
def process(*arguments: str) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """A service as a process: what it announced, by the first word of each line, and the process."""
    with subprocess.Popen(
        [*COMMAND, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            said: dict[str, str] = {}
            for line in running.stdout:
                word, _, rest = line.rstrip("\n").partition(" ")
                said.setdefault(word, rest)
                if word == "ready":
                    break
            yield said, running
        finally:
            running.terminate()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


def test_a_process_announces_itself_and_ends_when_told(tmp_path: Path, open_path: Path) -> None:
    """Endpoint, instance and certificates on stdout, requests on stderr; SIGTERM ends it with 0 and no traces."""
    control = open_path / "control"
    with process("--region", "us-west-2", "--control", str(control), "--certificates", str(tmp_path)) as (
        said,
        service,
    ):
        assert "i-0123456789abcdef0 in us-west-2" == said["instance"]
        assert 0o600 == stat.S_IMODE(control.stat().st_mode)
        assert b"us-west-2" == get(said["endpoint"], "/latest/meta-data/placement/region").body
        service.send_signal(signal.SIGTERM)
        _, errors = service.communicate(timeout=60)

    assert 0 == service.returncode
    assert not control.exists()
    assert [
        ["PUT", "/latest/api/token", "200", "token=none"],
        ["GET", "/latest/meta-data/placement/region", "200"],
    ] == [
        errors.splitlines()[0].split()[2:],
        errors.splitlines()[1].split()[2:5],
    ]
    for kind in Kind:
        store = TrustStore().with_certificate((tmp_path / f"{kind}.pem").read_text(), region="us-west-2", kind=kind)
        assert ("us-west-2",) == store.regions(kind)


def test_a_process_ends_also_in_the_middle_of_its_work(open_path: Path) -> None:
    """A signal that comes while an order is obeyed is not lost."""
    control = open_path / "control"
    for _ in range(5):
        with process("--control", str(control), "--quiet") as (_, service):
            Remote(control).requests()
            service.terminate()
            assert 0 == service.wait(timeout=60)
        assert not control.exists()


def test_a_process_is_steered_through_its_control_socket(open_path: Path) -> None:
    """Behaviours, interfaces, tokens and requests, while it runs."""
    control = open_path / "control"
    with process("--control", str(control), "--quiet") as (said, _):
        remote, endpoint = Remote(control), said["endpoint"]
        remote.behave(do="status", path="/mac$", status=404, times=1)
        assert [404, 200] == [get(endpoint, MAC).status for _ in range(2)]
        remote.attach(mac="06:00:00:00:00:01", device_number=1, private_ips=["10.0.1.10"])
        changed = remote.assign(mac="06:00:00:00:00:01", private_ips=["10.0.1.10", "10.0.1.11"])
        assert ["10.0.1.10", "10.0.1.11"] == changed["interfaces"][1]["private_ips"]
        stem = "/latest/meta-data/network/interfaces/macs/06:00:00:00:00:01"
        assert b"10.0.1.10\n10.0.1.11" == get(endpoint, f"{stem}/local-ipv4s").body
        assert b"1" == get(endpoint, f"{stem}/device-number").body
        remote.detach(mac="06:00:00:00:00:01")
        assert 404 == get(endpoint, f"{stem}/device-number").status
        assert "t3.micro" == remote.instance(instance_type="t3.micro")["instance_type"]
        session = token(endpoint)
        remote.forget_tokens()
        assert 401 == ask(endpoint, "GET", MAC, **{"X-aws-ec2-metadata-token": session}).status
        assert ("GET", MAC, 401, "invalid") == tuple(
            remote.requests()[-1][name] for name in ("method", "path", "status", "token")
        )
        remote.behave(do="disabled")
        remote.reset()
        remote.forget_requests()
        assert [] == remote.requests()


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        ({"verb": "dance"}, "no verb 'dance': there are behave, reset"),
        ({"verb": "behave"}, "do is missing"),
        ({"verb": "behave", "do": "nonsense"}, "no behaviour 'nonsense'"),
        ({"verb": "behave", "do": "status", "colour": 1}, r"Behaviour has no field colour \(it has do, path"),
        ({"verb": "detach", "mac": "06:99"}, "no interface has the MAC 06:99"),
        ({"verb": "detach"}, "mac"),
        ({"verb": "instance", "interfaces": []}, "at least one interface"),
        ({"verb": "instance", "size": 3}, "Instance has no field size"),
        ({"verb": "attach", "mac": "06:00:00:00:00:00"}, "two interfaces with one MAC"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_nothing_changes(
    tmp_path: Path, order: dict[str, object], complaint: str
) -> None:
    """The answer says what there is; the service serves on."""
    from ec2ident.testing import control

    with MetadataService() as imds:
        before = imds.instance

        with pytest.raises(ValueError, match=complaint):
            control.obey(imds, dict(order))

        assert before == imds.instance
        assert 200 == get(imds.endpoint, MAC).status


def test_what_is_not_an_order_at_all_gets_an_answer_too(tmp_path: Path) -> None:
    """Bytes that are not JSON, and JSON that is not an object."""
    from ec2ident.testing.control import _answer

    with MetadataService() as imds:
        answers = [json.loads(_answer(imds, line)) for line in (b"\xff\xfe", b"[1]", b"", b"{" * 100_000)]

    assert [["error"]] * 4 == [list(answer) for answer in answers]


def test_tell_steers_from_a_shell(open_path: Path) -> None:
    """Words NAME=VALUE; the answer is JSON on stdout; a refusal exits 4, a word that is none 2."""
    control = open_path / "control"
    with process("--control", str(control), "--quiet", "--behave", "status path=/mac$ status=503") as (said, _):
        assert 503 == get(said["endpoint"], MAC).status
        assert (0, "") == (run("tell", str(control), "reset").returncode, run("tell", str(control), "reset").stdout)
        assert 200 == get(said["endpoint"], MAC).status
        requests = run("tell", str(control), "requests")
        refused = run("tell", str(control), "behave", "do=nonsense")
        unusable = run("tell", str(control), "behave", "nonsense")

    assert MAC == json.loads(requests.stdout)[-1]["path"]
    assert (4, "") == (refused.returncode, refused.stdout)
    assert refused.stderr.startswith("ec2ident.testing: no behaviour 'nonsense'")
    assert (2, True) == (unusable.returncode, "'nonsense' is not NAME=VALUE" in unusable.stderr)
    assert 4 == run("tell", str(control), "reset").returncode


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--behave", "nonsense"], 2, "no behaviour 'nonsense'"),
        (["--behave", "status colour=1"], 2, "Behaviour has no field colour"),
        (["--host", "203.0.113.1"], 4, "cannot listen on 203.0.113.1 port 0: Cannot assign requested address"),
        (["--instance", "/nowhere/at.json"], 4, "/nowhere/at.json: No such file or directory"),
        (["--control", "/nowhere/at"], 4, "cannot listen on /nowhere/at: No such file or directory"),
    ],
)
def test_a_process_that_cannot_start_says_why_in_one_line(arguments: list[str], code: int, complaint: str) -> None:
    """Exit 2 for what is wrong on the command line, 4 for what is wrong on the machine; never a traceback."""
    done = run(*arguments)

    assert (code, "") == (done.returncode, done.stdout)
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_instance_is_read_from_a_file(tmp_path: Path) -> None:
    """Any field by its name; the command line goes before the file."""
    file = tmp_path / "instance.json"
    interface = {"mac": "06:11:22:33:44:55", "subnet": "10.9.0.0/24", "private_ips": ["10.9.0.7"]}
    file.write_text(json.dumps({"region": "cn-north-1", "interfaces": [interface], "tags": {"Name": "x"}}))

    with process("--instance", str(file), "--instance-id", "i-00000000000000001", "--quiet") as (said, _):
        answers = [
            get(said["endpoint"], f"/latest/meta-data/{name}").body.decode()
            for name in ("mac", "local-ipv4", "services/partition", "instance-id", "tags/instance/Name")
        ]

    assert ["06:11:22:33:44:55", "10.9.0.7", "aws-cn", "i-00000000000000001", "x"] == answers


def test_what_is_not_a_socket_is_not_deleted_to_make_room(tmp_path: Path) -> None:
    """A mistyped path shall not cost a file; a socket that was left over is replaced."""
    precious = tmp_path / "precious"
    precious.write_text("mine")

    done = run("--control", str(precious))

    assert 4 == done.returncode
    assert "mine" == precious.read_text()


def test_a_request_is_logged_by_a_function_of_the_caller() -> None:
    """For a test that wants to print or to count while it happens."""
    seen: list[Exchange] = []
    with MetadataService(log=seen.append) as imds:
        ask(imds.endpoint, "PUT", "/latest/api/token", **{TTL: "60"})

    assert [("PUT", 200)] == [(one.method, one.status) for one in seen]


def test_the_fixtures_serve_a_users_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pytest_plugins` is all that a user writes; SDKs are pointed at the service by the environment."""
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    pytester.makeconftest('pytest_plugins = ["ec2ident.testing.pytest_plugin"]')
    pytester.makepyfile(
        """
        import os
        import urllib.request

        def test_it(metadata_service):
            assert os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] == metadata_service.endpoint + "/"
            metadata_service.behave("tokens-optional")
            with urllib.request.urlopen(metadata_service.endpoint + "/latest/meta-data/instance-id") as answer:
                assert answer.read().decode() == metadata_service.instance.instance_id

        def test_each_test_has_its_own(metadata_service, metadata_authority):
            assert metadata_service.requests == ()
            assert metadata_service.authority is metadata_authority
        """
    )

    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
