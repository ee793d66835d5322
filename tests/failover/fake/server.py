"""The server: journal, faults, IAM, DryRun, refusals, then moto; over HTTP/1.1 on loopback, threaded.

Control, for tests that run it in a process of its own: `POST /_fake/VERB` with a JSON object, where VERB is `fault`,
`clear`, `settings`, `policy`, `power` or `reset`; `GET /_fake/journal` and `GET /_fake/lab`.
"""

from __future__ import annotations

import io
import json
import re
import threading
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from http.client import responses
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from . import arns, cloud, faults, gate, iam, image, lab, names, past
from .request import RefusalError, Request, error_body, read

EC2_DONE = '<{0}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>fake</requestId><return>true</return></{0}Response>'


class CutError(Exception):
    """The connection ends here, without an answer."""


class Handler(WSGIRequestHandler):
    """Quiet, and in the version of HTTP that AWS speaks. (werkzeug closes each connection all the same.)"""

    protocol_version = "HTTP/1.1"
    #: An answer's head and body are two packets; without this the kernel holds the second back for 40 ms.
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  werkzeug's own name
        pass


class Fake:
    """The service. `url`, `lab`, and what a test wants to go wrong; a context manager, or `serve_forever`."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, region: str = "us-east-1", journal: Path | None = None
    ):
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.region = region
        self.account = cloud.ACCOUNT
        self.journal_file = journal
        #: By region: the laboratory, and moto's state when it was new.
        self.laboratories: dict[str, tuple[lab.Lab, image.Image]] = {}
        self.lock = threading.RLock()
        #: Set when what is asked from here on no longer counts: a request of a test before, or the fake stops.
        self.over = threading.Event()
        self.server = make_server(host, port, self, threaded=True, request_handler=Handler)
        self.server.daemon_threads = True  # type: ignore[attr-defined]
        self.server.block_on_close = False  # type: ignore[attr-defined]
        self.url = f"http://{host}:{self.server.server_port}"
        with warnings.catch_warnings():
            # On an old Python, boto3 (which moto brings along) says at its first use that it will leave that behind.
            warnings.simplefilter("ignore")
            self.reset()

    # Life

    def __enter__(self) -> Fake:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def serve_forever(self) -> None:
        self.server.serve_forever(poll_interval=0.05)

    def reset(self) -> None:
        """Forget everything, and create the laboratory again.

        A client that gave up at its deadline has left its request here; it may neither write into the new laboratory
        nor change it while it is created.
        """
        self.over.set()
        with self.lock:
            self.over = threading.Event()
            self._create()

    def _create(self) -> None:
        self.faults: list[faults.Fault] = []
        self.policies: dict[str, list[dict[str, Any]]] = {}
        self.changes = names.Changes()
        self.attach_seconds = self.detach_seconds = 0.0
        self.past = past.Past()
        self.journal: list[dict[str, Any]] = []
        #: Errors of the fake itself: a test with one of them proves nothing.
        self.crashes: list[str] = []
        self.lab = self._laboratory()
        self.journal.clear()

    def _laboratory(self) -> lab.Lab:
        if self.region not in self.laboratories:
            image.clear()
            self.laboratories[self.region] = lab.lay(self._direct, self.region), image.Image()
        found, state = self.laboratories[self.region]
        state.restore()
        return found

    # What a test asks for

    def fault(self, **rule: Any) -> faults.Fault:
        """Add a rule (see `Fault`); the first that fits decides."""
        found = faults.Fault(**rule)
        self.faults.append(found)
        return found

    def policy(self, who: str, *documents: dict[str, Any]) -> None:
        """Give a caller (a source address, an access key, or a role's ARN) policies; without any, all is allowed."""
        self.policies[who] = list(documents)

    def settings(
        self,
        *,
        attach: float | None = None,
        detach: float | None = None,
        insync: float | None = None,
        stale: float | None = None,
        oldest: bool = False,
        seed: int = 0,
    ) -> None:
        """Seconds that an attach, a detach and a record's propagation take, and how old a read may be.

        A read shows a random moment of the last `stale` seconds, or with `oldest` always the earliest of them.
        """
        if stale is not None:
            with self.lock:
                self.past = past.Past(stale, oldest=oldest, seed=seed)
                self._remember()
        self.attach_seconds = self.attach_seconds if attach is None else attach
        self.detach_seconds = self.detach_seconds if detach is None else detach
        self.changes.seconds = self.changes.seconds if insync is None else insync

    def power(self, instance: str, state: str) -> None:
        with self.lock:
            cloud.power(gate.instance_of(self.backend, instance), state)
            self.settle()

    def _remember(self) -> None:
        from moto.route53.models import route53_backends

        if self.past.seconds:
            zones = route53_backends[self.account][arns.partition(self.region)].zones
            self.past.remember(past.moment(self.backend, zones))

    def calls(self, *actions: str) -> list[dict[str, Any]]:
        return [call for call in self.journal if not actions or call["action"] in actions]

    @property
    def backend(self) -> Any:
        return ec2_backends[self.account][self.region]

    def ask(self, action: str, **form: str) -> bytes:
        """A call of the test's own, past journal, faults and IAM. For the reads that follow it was long ago."""
        with self.lock:
            answer = self._direct("ec2", "POST", "/", {"Action": action, "Version": "2016-11-15", **form})[1]
            self.settle()
        return answer

    def settle(self) -> None:
        """From here on every read shows the present, until something is written."""
        with self.lock:
            self.past.moments.clear()
            self._remember()

    # WSGI

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        if environ["PATH_INFO"].startswith("/_fake/"):
            return _reply(start_response, 200, self._control(environ, body), "application/json")
        began, over = time.time(), self.over
        try:
            request = read(environ, body)
        except RefusalError as refusal:
            return _reply(start_response, refusal.status, error_body("ec2", refusal))
        fault = faults.pick(self.faults, request)
        status, answer = self._answer(request, environ, fault, over)
        self._note(request, environ, began, status, answer, over)
        if fault and (fault.drip or fault.giant or fault.cut):
            return _odd(start_response, fault, answer, over)
        return _reply(start_response, status, answer)

    def _answer(
        self, request: Request, environ: dict[str, Any], fault: faults.Fault | None, over: threading.Event
    ) -> tuple[int, bytes]:
        try:
            if fault:
                over.wait(fault.delay)
                if fault.hang:
                    over.wait(3600)
                if fault.body is not None:
                    return fault.status if fault.status != 400 else 200, fault.body.encode()
                if fault.code and not fault.after:
                    raise fault.refusal()
            with self.lock:
                if over.is_set():
                    raise CutError
                found = self._do(request, environ)
            if fault and fault.code:
                raise fault.refusal()
            return found
        except CutError:
            raise
        except RefusalError as refusal:
            return refusal.status, error_body(request.service, refusal)
        except Exception:  # noqa: BLE001  told to the test that it happened in
            if not over.is_set():
                self.crashes.append(f"{request.action}: {traceback.format_exc()}")
            return 500, b"the fake itself is broken"

    def _do(self, request: Request, environ: dict[str, Any]) -> tuple[int, bytes]:
        """Do it now; a read may be done in the past."""
        cloud.settle_all()
        self._remember()
        if self.past.seconds and request.action in past.READS and request.key != past.WITNESS:
            with self.past.visit():
                return self._now(request, environ)
        found = self._now(request, environ)
        self._remember()
        return found

    def _now(self, request: Request, environ: dict[str, Any]) -> tuple[int, bytes]:
        self._authorize(request)
        if request.service == "ec2":
            gate.dry_run(request)
        gate.check(request, self.account)
        special = {
            "DetachNetworkInterface": self._detach,
            "GetChange": self._get_change,
            "TestDNSAnswer": self._test_answer,
        }
        if request.action in special:
            return special[request.action](request)
        if request.action == "ChangeResourceRecordSets":
            names.check(request, self._zone(request.id))
        status, answer = self._to_moto(request, environ)
        return status, self._after(request, status, answer)

    def _authorize(self, request: Request) -> None:
        for who in (request.key, request.source):
            if who not in self.policies:
                continue
            action = f"{request.service}:{request.action}"
            resources = arns.resources(request, self.account, self.backend_in(request.region))
            refused = iam.allowed(self.policies[who], action, resources)
            if refused is not None:
                code = "UnauthorizedOperation" if request.service == "ec2" else "AccessDenied"
                text = f"You are not authorized to perform this operation. User is not authorized to perform: {action}"
                raise RefusalError(code, f"{text} on resource: {refused}" if request.service != "ec2" else text, 403)

    def backend_in(self, region: str) -> Any:
        return ec2_backends[self.account][region if region in ec2_backends[self.account].regions else self.region]

    def _zone(self, zone: str) -> Any:
        from moto.route53.models import route53_backends

        backend = route53_backends[self.account][arns.partition(self.region)]
        if zone not in backend.zones:
            raise RefusalError("NoSuchHostedZone", f"No hosted zone found with ID: {zone}", 404)
        return backend.zones[zone]

    def _detach(self, request: Request) -> tuple[int, bytes]:
        gate.detach(request, gate.backend_of(request, self.account), self.detach_seconds)
        return 200, EC2_DONE.format("DetachNetworkInterface").encode()

    def _get_change(self, request: Request) -> tuple[int, bytes]:
        info = self.changes.info(request.id)
        return (
            200,
            b'<GetChangeResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">%s</GetChangeResponse>' % info,
        )

    def _test_answer(self, request: Request) -> tuple[int, bytes]:
        zone = self._zone(request.form.get("hostedzoneid", ""))
        wanted = names.normal(request.form.get("recordname", "")), request.form.get("recordtype", "A")
        found = [r for r in zone.rrsets if (names.normal(r.name), names.kind_of(r)) == wanted]
        values = "".join(f"<RecordDataEntry>{v}</RecordDataEntry>" for r in found for v in r.records)
        return 200, (
            '<TestDNSAnswerResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Nameserver>fake</Nameserver>'
            f"<RecordName>{wanted[0]}</RecordName><RecordType>{wanted[1]}</RecordType><RecordData>{values}</RecordData>"
            f"<ResponseCode>{'NOERROR' if found else 'NXDOMAIN'}</ResponseCode><Protocol>UDP</Protocol>"
            "</TestDNSAnswerResponse>"
        ).encode()

    def _after(self, request: Request, status: int, answer: bytes) -> bytes:
        if status >= 300:
            return answer
        if request.action == "DescribeRouteTables":
            answer = cloud.show_advertised(cloud.show_owners(answer))
        if request.action == "DescribeNetworkInterfaces":
            answer = cloud.show_prefixes(answer)
        if request.action == "AttachNetworkInterface":
            eni = self.backend_in(request.region).enis[request.form["NetworkInterfaceId"]]
            cloud.begin(eni, "attaching", self.attach_seconds)
        if b"<ChangeInfo>" in answer and request.service == "route53":
            comment = request.xml().findtext("ChangeBatch/Comment") if request.action.startswith("Change") else ""
            answer = names.rewrite(answer, self.changes.info(self.changes.begin(comment or "")))
        if request.action == "AssumeRole" and request.form.get("RoleArn") in self.policies:
            key = re.search(rb"<AccessKeyId>(.*?)</AccessKeyId>", answer)
            if key:
                self.policies[key[1].decode()] = self.policies[request.form["RoleArn"]]
        return answer

    def _to_moto(self, request: Request, environ: dict[str, Any]) -> tuple[int, bytes]:
        from urllib.parse import urlencode

        body = request.body if request.service == "route53" else urlencode(request.form).encode()
        return self._run({**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})

    def _run(self, environ: dict[str, Any]) -> tuple[int, bytes]:
        from werkzeug.test import run_wsgi_app

        # moto finds its part by the service in the signature, unless the host name looks like one of AWS's.
        environ["HTTP_HOST"] = "127.0.0.1"
        app = self.moto.get_application(environ)
        chunks, status, _ = run_wsgi_app(app, environ)
        return int(status.split()[0]), b"".join(chunks)

    def _direct(
        self, service: str, method: str, path: str, form: dict[str, str], body: bytes = b""
    ) -> tuple[int, bytes]:
        from urllib.parse import urlencode

        from werkzeug.test import EnvironBuilder

        data: Any = body or urlencode(form).encode()
        builder = EnvironBuilder(
            path,
            method=method,
            data=data,
            content_type="text/xml" if body else "application/x-www-form-urlencoded",
            headers=[
                ("Authorization", f"AWS4-HMAC-SHA256 Credential=SEED/20260101/{self.region}/{service}/aws4_request, x")
            ],
        )
        environ = builder.get_environ()
        environ["REMOTE_ADDR"] = "127.0.0.1"
        return self._run(environ)

    def _note(
        self,
        request: Request,
        environ: dict[str, Any],
        began: float,
        status: int,
        answer: bytes,
        over: threading.Event,
    ) -> None:
        with self.lock:
            if over.is_set():
                return
            code = re.search(rb"<Code>(.*?)</Code>", answer) if status >= 300 else None
            resources = self._resources(request)
            entry = {
                "time": began,
                "source": request.source,
                "key": request.key,
                "service": request.service,
                "region": request.region,
                "action": request.action,
                "parameters": request.parameters,
                "resources": [[arn, {name: list(of) for name, of in keys.items()}] for arn, keys in resources],
                "status": status,
                "code": code[1].decode() if code else "",
                "ms": round((time.time() - began) * 1000, 1),
                "agent": environ.get("HTTP_USER_AGENT", ""),
            }
            self.journal.append(entry)
            if self.journal_file:
                with self.journal_file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")

    def _resources(self, request: Request) -> list[iam.Resource]:
        try:
            return arns.resources(request, self.account, self.backend_in(request.region))
        except (RefusalError, KeyError):
            return []

    # Control, over HTTP

    def _control(self, environ: dict[str, Any], body: bytes) -> bytes:
        verb = environ["PATH_INFO"].rpartition("/")[2]
        given = json.loads(body) if body else {}
        answers: dict[str, Any] = {
            "journal": lambda: self.journal,
            "lab": lambda: self.lab.as_dict(),
            "fault": lambda: self.fault(**given) and None,
            "clear": lambda: self.faults.clear(),
            "settings": lambda: self.settings(**given),
            "policy": lambda: self.policy(given["who"], *given["documents"]),
            "power": lambda: self.power(given["instance"], given["state"]),
            "reset": lambda: self.reset(),
        }
        return json.dumps(answers[verb]()).encode()


def _reply(start_response: Any, status: int, body: bytes, kind: str = "text/xml;charset=UTF-8") -> Iterable[bytes]:
    headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
    start_response(f"{status} {responses.get(status, 'Odd')}", headers)
    return [body]


def _odd(start_response: Any, fault: faults.Fault, answer: bytes, over: threading.Event) -> Iterator[bytes]:
    """Answers that come byte by byte, never end, or break off."""
    length = [("Content-Length", str(len(answer)))] if not fault.giant else []
    start_response("200 OK", [("Content-Type", "text/xml;charset=UTF-8"), *length])
    if fault.giant:
        yield from faults.giant(fault.giant)
    elif fault.cut:
        yield answer[: len(answer) // 2]
        raise CutError
    else:
        for byte in answer:
            if over.wait(fault.drip):
                return
            yield bytes([byte])
