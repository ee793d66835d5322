"""The attestation service and its client: two programs, over loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ec2ident import Imds, Policy, verify
from ec2ident.admission import Admission, RateLimit, SqliteStore, prepare
from ec2ident.testing import Authority, Instance, MetadataService, pretend
from ec2ident.value import replace
from tests.lib import vectors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

TOP = Path(__file__).parents[2]
FOLDER = TOP / "examples/attestation"
AUDIENCE = "https://join.example.com"
REFUSED = (403, {"error": "refused"})
NOT_UNDERSTOOD = (422, {"error": "not understood"})
#: Each test is about an instance of its own.
numbers = count()


class Server:
    """The example as a process; `log` is what it has written since it was last read."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._log, self._read = folder / "log", 0
        argv = [sys.executable, str(FOLDER / "server.py"), "--audience", AUDIENCE, "--store", str(folder / "store")]
        argv += ["--policy", str(FOLDER / "policy.json"), "--listen", "127.0.0.1:0", "--per-minute", "60000", *options]
        with self._log.open("w") as file:
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=file, text=True)
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.log()
        self.place = urlsplit(self.url).netloc

    def log(self) -> str:
        text = self._log.read_text(encoding="utf-8")
        new, self._read = text[self._read :], len(text)
        return new

    def codes(self) -> list[str]:
        return re.findall(r"code=([\w-]+)", self.log())

    def post(self, path: str, body: bytes | Iterable[bytes], **headers: str) -> tuple[int, Any]:
        connection = HTTPConnection(self.place, timeout=60)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text
        finally:
            connection.close()

    def admit(self, body: dict[str, object]) -> tuple[int, Any]:
        return self.post("/admit", json.dumps(body).encode())

    def proof(self, key: Ed25519PrivateKey | None = None, item: bytes | str | None = None) -> dict[str, object]:
        """This machine's answer to a new challenge, or that of another one's item."""
        status, challenge = self.post("/challenge", b"{}")
        assert 200 == status
        item = item or Imds(20).identity_item("rsa2048")
        assert item
        return prepare(challenge, item, key or Ed25519PrivateKey.generate(), audience=AUDIENCE).to_dict()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture(scope="module")
def machine() -> Iterator[MetadataService]:
    """This machine, and every process that it starts, is an instance that started just now."""
    started = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TOP), prepend=os.pathsep)
        with pretend(Instance(pending_time=started), authority=Authority()) as service:
            yield service


@pytest.fixture(scope="module")
def shared(machine: MetadataService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), "--proxy", "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def imds(machine: MetadataService) -> MetadataService:
    machine.instance = replace(machine.instance, instance_id=f"i-{next(numbers):017x}")
    return machine


@pytest.fixture
def server(shared: Server, imds: MetadataService) -> Server:
    shared.log()
    return shared


def client(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(FOLDER / "client.py"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=100)


@pytest.fixture
def client_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The client in this process, which is quicker, with one try: its exit code, and what it says."""
    main = runpy.run_path(str(FOLDER / "client.py"))["main"]

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["client.py", *arguments, "--deadline", "0"])
        try:
            code = main()
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        assert "" == out
        return code, err

    return run


def test_the_client_is_let_in_and_comes_again_with_its_key(
    server: Server, imds: MetadataService, tmp_path: Path
) -> None:
    """Both programs as they stand; the key stays where its owner alone reads it."""
    key = tmp_path / "machine.pem"
    runs = [client(server.url, "--audience", AUDIENCE, "--key", str(key)) for _ in range(2)]

    assert [(0, ""), (0, "")] == [(done.returncode, done.stderr) for done in runs]
    first, again = (json.loads(done.stdout) for done in runs)
    assert ("123456789012", imds.instance.instance_id, True) == (first["account"], first["instance"], first["first"])
    assert {**first, "first": False} == again
    assert 0o600 == key.stat().st_mode & 0o777
    assert 2 == server.log().count(f'"key": "{first["key"]}"')


def test_a_replay_and_a_copied_document_are_refused(server: Server) -> None:
    """The same octets again; the document with a thief's key; the thief's proof under the machine's key."""
    key, thief = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    body = server.proof(key)
    mixed = {**server.proof(key), "proof": server.proof(thief)["proof"]}

    assert 200 == server.admit(body)[0]
    assert [REFUSED] * 3 == [server.admit(body), server.admit(server.proof(thief)), server.admit(mixed)]
    assert ["replay", "other-key", "wrong-proof"] == server.codes()


def test_a_document_of_an_earlier_start_is_refused(server: Server, imds: MetadataService) -> None:
    """A copy that was made before the instance was stopped and started, even with the machine's own key."""
    key, now = Ed25519PrivateKey.generate(), imds.instance
    before = datetime.fromisoformat(now.pending_time.replace("Z", "+00:00")) - timedelta(minutes=5)
    imds.instance = replace(now, pending_time=before.strftime("%Y-%m-%dT%H:%M:%SZ"))
    early = Imds(20).identity_item("rsa2048")
    imds.instance = now

    assert [200, 200] == [server.admit(server.proof(key, item))[0] for item in (early, None)]
    assert REFUSED == server.admit(server.proof(key, early))
    assert ["older-document"] == server.codes()


def test_another_account_and_another_signer_are_refused_alike(server: Server, imds: MetadataService) -> None:
    """The sender cannot tell which of them it was; the log can."""
    with MetadataService(replace(imds.instance, account_id="999999999999"), authority=imds.authority) as other:
        foreign = Imds(20, endpoints=other.endpoint).identity_item("rsa2048")
    with MetadataService(imds.instance, authority=Authority()) as other:
        forged = Imds(20, endpoints=other.endpoint).identity_item("rsa2048")

    assert [REFUSED] * 2 == [server.admit(server.proof(item=item)) for item in (foreign, forged)]
    assert ["not-allowed", "wrong-signature"] == server.codes()


def test_what_is_not_understood_is_never_called_forged(server: Server, imds: MetadataService) -> None:
    """A damaged item, a region without a known key, and what is not a request: 422, and neither a yes nor a no."""
    item = Imds(20).identity_item("rsa2048")
    assert item
    there = replace(imds.instance, region="eu-west-9", availability_zone="eu-west-9a")
    with MetadataService(there, authority=imds.authority) as other:
        unknown = Imds(20, endpoints=other.endpoint).identity_item("rsa2048")
    bodies = [json.dumps(server.proof(item=each)).encode() for each in (item[:-40], unknown)]
    bodies += [b"", b"[]", b"\xff", b"[" * 30000, b'{"rsa2048": 5}', json.dumps({"nonce": "A" * 54}).encode()]

    assert [NOT_UNDERSTOOD] * len(bodies) == [server.post("/admit", body) for body in bodies]
    log = server.log()
    assert (len(bodies), []) == (log.count("not understood source=127.0.0.1"), re.findall("refused|forged", log))


def test_sizes_are_bounded_before_anything_is_read(server: Server) -> None:
    """A declared length, a body without one, and headers; and HTTP's other errors are JSON too."""
    assert 413 == server.post("/admit", b"", **{"Content-Length": "40000"})[0]
    with contextlib.suppress(ConnectionError):  # the server hangs up while the client still sends
        assert 413 == server.post("/admit", (b"x" * 4096 for _ in range(1000)))[0]
    assert 431 == server.post("/challenge", b"", **{"X-Long": "x" * 20000})[0]
    assert (404, {"error": "not found"}) == server.post("/elsewhere", b"")


def test_clients_that_send_slowly_occupy_no_thread(server: Server) -> None:
    """Twice as many half requests as there are threads are open, and another client is answered."""
    port = urlsplit(server.url).port or 0
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    try:
        for each in slow:
            each.sendall(b"POST /admit HTTP/1.1\r\nHost: join\r\nContent-Length: 100\r\n\r\n{")
        assert 200 == server.admit(server.proof())[0]
    finally:
        for each in slow:
            each.close()


def test_of_two_first_uses_at_once_one_wins(server: Server, imds: MetadataService) -> None:
    """Two keys with one document at the same moment, in two threads; several times over."""
    for _ in range(3):
        imds.instance = replace(imds.instance, instance_id=f"i-{next(numbers):017x}")
        bodies = [server.proof(), server.proof()]
        with ThreadPoolExecutor(2) as pool:
            assert [200, 403] == sorted(status for status, _ in pool.map(server.admit, bodies))
    assert ["other-key"] * 3 == server.codes()


def test_the_proxy_names_the_source(server: Server) -> None:
    """The address that it puts into X-Forwarded-For is what is counted and logged; of IPv6, the /64."""
    server.post("/challenge", b"{}", **{"X-Forwarded-For": "198.51.100.7"})
    server.post("/challenge", b"{}", **{"X-Forwarded-For": "[2001:db8:1:2:3::4]"})

    assert ["198.51.100.7", "2001:db8:1:2::/64"] == re.findall("source=(.+)", server.log())


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["http://127.0.0.1:1", "--audience", AUDIENCE], 3, "could not tell: http://127.0.0.1:1/challenge: Connection"),
        (["{url}", "--audience", "https://other.example.com"], 3, "do not answer it"),
        (["{url}/elsewhere"], 3, "could not tell: 404"),
        (["join.example.com"], 2, "https:// is expected"),
    ],
)
def test_the_client_cannot_tell(
    server: Server,
    tmp_path: Path,
    client_here: Callable[..., tuple[int, str]],
    options: list[str],
    code: int,
    said: str,
) -> None:
    """A server that does not answer, has another name, or is elsewhere is not a refusal; wrong usage is exit code 2."""
    options = [each.format(url=server.url) for each in options]
    ended, err = client_here(*options, "--key", str(tmp_path / "key"))

    assert (code, True) == (ended, said in err), err


def test_the_client_says_that_it_was_refused(
    server: Server, imds: MetadataService, tmp_path: Path, client_here: Callable[..., tuple[int, str]]
) -> None:
    """Exit code 1; a metadata service that is switched off is 3, and a key that others may read is 2."""
    key = tmp_path / "key"
    arguments = (server.url, "--audience", AUDIENCE, "--key", str(key))
    assert 200 == server.admit(server.proof())[0]

    assert (1, "refused: 403 {'error': 'refused'}\n") == client_here(*arguments)
    imds.behave("disabled")
    try:
        code, err = client_here(*arguments)
    finally:
        imds.reset()
    assert (3, True) == (code, err.startswith("could not tell: "))
    key.chmod(0o644)
    code, err = client_here(*arguments)
    assert (2, True) == (code, "other users may read it" in err)


def test_a_document_that_aws_signed_is_let_in_and_counted(tmp_path: Path) -> None:
    """With AWS's true keys, which an instance of 2021 was signed with; another policy refuses it as a stranger's."""
    item = vectors.signature("teleport-us-west-2-2021", "rsa2048")
    document = verify(item, kind="rsa2048").document
    create_app = runpy.run_path(str(FOLDER / "server.py"))["create_app"]

    def status(account: str) -> list[int]:
        admission = Admission(
            audience=AUDIENCE, policy=Policy(accounts=[account]), store=SqliteStore(tmp_path / account)
        )
        app = create_app(admission, RateLimit(per_minute=1, burst=2)).test_client()
        proof = prepare(admission.challenge().to_dict(), item, Ed25519PrivateKey.generate(), audience=AUDIENCE)
        return [app.post("/admit", json=proof.to_dict()).status_code for _ in range(3)]

    assert [200, 403, 429] == status(document.account_id)
    assert [403, 403, 429] == status("123456789012")
