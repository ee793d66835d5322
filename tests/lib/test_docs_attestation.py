"""What docs/attestation.md shows is what happens: the examples, and the server and client that it prints."""

from __future__ import annotations

import contextlib
import doctest
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ec2ident import Imds
from ec2ident.admission import prepare
from ec2ident.testing import Authority, Instance, MetadataService, pretend
from ec2ident.value import replace
from tests.lib import vectors

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "attestation.md"
PROGRAMS = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
AUDIENCE = "https://join.example.com"


def test_the_examples_of_the_page_run() -> None:
    """All of them, in their order, with the output that the page shows."""
    pytest.importorskip("botocore", reason="needs botocore")
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")

    assert (0, True) == (failed, tried > 20)


class Server:
    """The page's server as a process, and what it wrote to its log when it ended."""

    def __init__(self, program: Path, store: Path, log: Path) -> None:
        self.log = log
        with log.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(program), str(store)], stdout=subprocess.PIPE, stderr=file, text=True
            )
        assert self.process.stdout
        port = self.process.stdout.readline().strip()
        assert port, log.read_text(encoding="utf-8")
        self.url = f"http://127.0.0.1:{port}"

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
        request = urllib.request.Request(self.url + path, body, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def admit(self, body: dict[str, object]) -> tuple[int, Any]:
        return self.post("/admit", json.dumps(body).encode())

    def proof(self, key: Ed25519PrivateKey | None = None, item: bytes | None = None) -> dict[str, object]:
        """The answer of this machine, or of another one's item, to a new challenge."""
        status, challenge = self.post("/challenge", b"{}")
        assert 200 == status
        item = Imds(20).identity_item("rsa2048") if item is None else item
        assert item
        return prepare(challenge, item, key or Ed25519PrivateKey.generate(), audience=AUDIENCE).to_dict()

    def close(self) -> str:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        return self.log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def imds() -> Iterator[MetadataService]:
    """This machine, and every process that it starts, is an instance that started just now."""
    started = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{TOP}{os.pathsep}{before}" if before else str(TOP)
    try:
        with pretend(Instance(pending_time=started), authority=Authority()) as service:
            yield service
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@pytest.fixture
def programs(tmp_path: Path, imds: MetadataService) -> Path:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def servers(programs: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers with one store."""
    with contextlib.ExitStack() as stack:
        two = []
        for number in range(2):
            server = Server(programs / "server.py", programs / "admission.db", programs / f"log{number}")
            stack.callback(server.close)
            two.append(server)
        yield two[0], two[1]


def test_the_client_is_let_in_by_the_server(servers: tuple[Server, Server], programs: Path) -> None:
    """Both programs of the page, as they stand, and the line that the server logs."""
    argv = [sys.executable, str(programs / "client.py"), servers[0].url]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, env=environment)

    assert (0, "") == (done.returncode, done.stderr)
    told = json.loads(done.stdout)
    assert ("123456789012", "i-0123456789abcdef0", True) == (told["account"], told["instance"], told["first"])
    assert f"admitted account=123456789012 instance=i-0123456789abcdef0 key={told['key']}" in servers[0].close()


def test_a_replay_is_refused_by_either_server(servers: tuple[Server, Server]) -> None:
    """The same octets again; and a copy of the document with a key of the thief's own."""
    one, other = servers
    key = Ed25519PrivateKey.generate()
    body = one.proof(key)

    assert 200 == one.admit(body)[0]
    assert [(403, {"error": "refused"})] * 3 == [one.admit(body), other.admit(body), other.admit(other.proof())]
    assert (200, False) == ((again := other.admit(one.proof(key)))[0], again[1]["admitted"]["first"])
    assert ["code=replay", "code=other-key"] == re.findall(r"code=[\w-]+", other.close())


def test_what_is_not_a_request_is_a_400_and_never_a_500(servers: tuple[Server, Server]) -> None:
    """The page's promise, and the limits before it: size, length, path."""
    server = servers[0]
    for body in (b'{"rsa2048": 5}', b"", b"[]", b"\xff", b"{" * 1000, b'"' + b"x" * 30000):
        assert (400, {"error": "malformed"}) == server.post("/admit", body)
    assert 413 == server.post("/admit", b"x" * 40000)[0]
    assert 404 == server.post("/elsewhere", b"{}")[0]
    assert 411 == server.post("/admit", b"x", **{"Content-Length": "-1"})[0]


def test_a_stranger_learns_nothing(servers: tuple[Server, Server], imds: MetadataService) -> None:
    """Another account, another signature, a challenge that is none: one answer, and the log knows which."""
    server = servers[0]
    mine = imds.instance
    theirs = Instance(account_id="999999999999", pending_time=mine.pending_time)
    with MetadataService(theirs, authority=imds.authority) as other:
        stranger = Imds(20, endpoints=other.endpoint).identity_item("rsa2048")
    with MetadataService(mine, authority=Authority()) as forger:
        forged = Imds(20, endpoints=forger.endpoint).identity_item("rsa2048")
    bodies = [server.proof(item=stranger), server.proof(item=forged), {**server.proof(), "nonce": "A" * 54}]

    answers = [server.admit(body) for body in bodies]

    assert [(403, {"error": "refused"})] * 3 == answers
    log = server.close()
    assert ["code=not-allowed", "code=wrong-signature", "code=foreign-challenge"] == re.findall(r"code=[\w-]+", log)


def test_of_two_first_uses_at_once_one_wins(servers: tuple[Server, Server], imds: MetadataService) -> None:
    """Two machines with one document, at two servers, at the same moment; several times over."""
    before = imds.instance
    try:
        for number in range(5):
            imds.instance = replace(before, instance_id=f"i-0000000000000000{number}")
            bodies = [server.proof() for server in servers]
            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(lambda pair: pair[0].admit(pair[1])[0], zip(servers, bodies)))
            assert [200, 403] == sorted(answers)
    finally:
        imds.instance = before
    assert ["code=other-key"] * 5 == re.findall(r"code=[\w-]+", "".join(server.close() for server in servers))


def test_a_source_that_asks_too_often_is_told_so(servers: tuple[Server, Server]) -> None:
    """After the burst, 429; the other server counts for itself."""
    statuses = [servers[0].post("/challenge", b"{}")[0] for _ in range(40)]

    assert {200, 429} == set(statuses)
    assert 200 == statuses[0]
    assert 200 == servers[1].post("/challenge", b"{}")[0]


def test_the_program_for_many_documents_answers_each_in_its_order(tmp_path: Path) -> None:
    """More than a batch, genuine and damaged in turn; the processes start as on any machine."""
    program = tmp_path / "many.py"
    program.write_text(PROGRAMS["many.py"], encoding="utf-8")
    genuine = "".join(vectors.signature("teleport-us-west-2-2021", "rsa2048").split())
    lines = [genuine if number % 2 else genuine[:-4] for number in range(601)]
    done = subprocess.run(
        [sys.executable, str(program)], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=120
    )

    assert (0, "") == (done.returncode, done.stderr)
    answers = done.stdout.splitlines()
    assert ["i-078517ca8a70a1dde"] * 300 == answers[1::2]
    assert 301 == sum(answer.startswith("MalformedError: ") for answer in answers[::2])
