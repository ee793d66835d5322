"""An STS on loopback that knows one caller, and checks Signature Version 4 by the rules of AWS's documentation.

Written from "Create a signed AWS API request" (IAM User Guide); nothing of it is the product's. The requests that it
checks in tests are signed by botocore, so a mistake here and one there would have to be the same.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

ACCESS_KEY, SECRET_KEY, TOKEN = "ASIATESTINGTESTINGTE", "a-secret-that-opens-nothing", "a-session-token"


class FakeSts:
    """What it answers with, and what it saw."""

    def __init__(self, arn: str) -> None:
        self.arn = arn
        #: In place of the true answer: status, content type, body.
        self.instead: tuple[int, str, bytes] | None = None
        self.seen: list[dict[str, str]] = []
        self.port = 0

    def connect(self, host: str, timeout: float) -> HTTPConnection:
        """What `Sts(connect=…)` takes: whatever the host, the connection goes here."""
        return HTTPConnection("127.0.0.1", self.port, timeout=20)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        self.seen.append(headers)
        if self.instead is not None:
            return self.instead
        json_form = headers.get("accept") == "application/json"
        if not json_form or (method, path) != ("POST", "/") or not _signed(method, path, headers, body):
            return 403, "application/json", b'{"Error":{"Code":"SignatureDoesNotMatch"},"RequestId":"1"}'
        if headers.get("x-amz-security-token") != TOKEN:
            return 403, "application/json", b'{"Error":{"Code":"InvalidClientTokenId"},"RequestId":"1"}'
        account = self.arn.split(":")[4]
        result = {"Account": account, "Arn": self.arn, "UserId": f"AROATESTING:{self.arn.rpartition('/')[2]}"}
        found = {"GetCallerIdentityResult": result, "ResponseMetadata": {"RequestId": "1"}}
        return 200, "application/json", json.dumps({"GetCallerIdentityResponse": found}).encode()


def _signed(method: str, path: str, headers: dict[str, str], body: bytes) -> bool:
    """Was the request signed with the secret key? Each step has its number in AWS's page."""
    algorithm, _, rest = headers["authorization"].partition(" ")
    fields = dict(field.strip().split("=", 1) for field in rest.split(","))
    access, day, region, service, ending = fields["Credential"].split("/")
    names = fields["SignedHeaders"].split(";")
    # 1. The canonical request.
    canonical_headers = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    payload = hashlib.sha256(body).hexdigest()
    canonical = "\n".join([method, path, "", canonical_headers, ";".join(names), payload])
    # 2. and 3. Its hash, and the string to sign.
    scope = "/".join([day, region, service, ending])
    text = "\n".join([algorithm, headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    # 4. The signing key, and the signature.
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (day, region, service, ending):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return access == ACCESS_KEY and names == sorted(names) and hmac.compare_digest(expected, fields["Signature"])


@contextmanager
def fake_sts(arn: str) -> Iterator[FakeSts]:
    """An STS that answers on a port of 127.0.0.1 while the context lasts."""
    sts = FakeSts(arn)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, kind, answer = sts.answer("POST", self.path, headers, body)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        sts.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield sts
        finally:
            server.shutdown()
            thread.join()


def sign(host: str, region: str, bound: str, **headers: str) -> dict[str, str]:
    """The headers of a GetCallerIdentity request as botocore signs it."""
    from importlib import import_module

    auth, requests, credentials = (import_module(f"botocore.{name}") for name in ("auth", "awsrequest", "credentials"))

    request = requests.AWSRequest(
        method="POST",
        url=f"https://{host}/",
        data="Action=GetCallerIdentity&Version=2011-06-15",
        headers={
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "X-Ec2ident-Challenge": bound,
            **headers,
        },
    )
    own = credentials.Credentials(ACCESS_KEY, SECRET_KEY, TOKEN)
    auth.SigV4Auth(own, "sts", region).add_auth(request)
    return dict(request.headers.items())
