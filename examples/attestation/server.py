#!/usr/bin/env python3
"""A web service that lets EC2 instances in: the machine proves itself once, and is known by its key from then on.

    python server.py --audience https://join.example.com --policy policy.json --store /var/lib/join/admission.db

`POST /challenge` gives a nonce. `POST /admit` takes the instance's signed identity document with a proof for this
nonce. README.md in this folder says what each answer means, and what AWS signs and what it does not.
"""

from __future__ import annotations

import argparse
import json
import logging
import socket
import sys
import time
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from ec2ident import MalformedError, Policy
from ec2ident.admission import Admission, AdmissionUnavailableError, NotAdmittedError, RateLimit, SqliteStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

#: Bytes of a request. One with all three signed items and a session token has about 8,000.
MOST = 32 * 1024

log = logging.getLogger("join")


def create_app(admission: Admission, limit: RateLimit) -> Flask:
    """The WSGI application. Everything that it decides is decided by `admission`; here are only HTTP's manners."""
    app = Flask("join")
    # A longer body is answered with 413: before it is read where its length is declared, else while it is read.
    app.config["MAX_CONTENT_LENGTH"] = MOST

    @app.errorhandler(HTTPException)
    def error(problem: HTTPException) -> ResponseReturnValue:
        """Errors of HTTP itself (404, 405, 413, 500) as JSON, like every other answer."""
        return {"error": problem.name.lower()}, problem.code or 500

    @app.before_request
    def slow_down() -> ResponseReturnValue | None:
        """A signature is checked for any stranger who asks, so each source may ask only so often."""
        return None if limit.allows(source(), time.monotonic()) else ({"error": "slow down"}, 429)

    @app.post("/challenge")
    def challenge() -> ResponseReturnValue:
        """A nonce. The server keeps nothing of it until it is used: its end and its audience are under a MAC."""
        answer = admission.offer(source())
        log.info("%s", answer.log)
        return answer.body, answer.status

    @app.post("/admit")
    def admit() -> ResponseReturnValue:
        """Yes, no, and two ways of "cannot tell". The reason is for the log: it may hold the list of your accounts."""
        try:
            admitted = admission.admit(request.get_data())
        except MalformedError as error:
            return not_understood(error)
        except NotAdmittedError as error:
            # A region without a known key, say: that speaks neither for the machine nor against it.
            if error.code == "unverifiable":
                return not_understood(error)
            log.warning("refused code=%s source=%s: %s", error.code, source(), printable(error))
            return {"error": "refused"}, 403
        except AdmissionUnavailableError as error:
            log.error("unavailable source=%s: %s", source(), printable(error))
            return {"error": "try again later"}, 503
        # Here a real service gives out what the machine came for: a join token, a certificate for its key, a secret.
        told = admitted.to_dict()
        log.info("admitted source=%s %s", source(), json.dumps(told))
        return {"admitted": told}, 200

    return app


def not_understood(error: Exception) -> ResponseReturnValue:
    """Neither yes nor no: what was sent is damaged, or newer than this server. It is never called forged."""
    log.warning("not understood source=%s: %s", source(), printable(error))
    return {"error": "not understood"}, 422


def source() -> str:
    """Which client asks, for limits and the log: an address, or the /64 of one of IPv6, which one client owns whole."""
    text = request.remote_addr or "unknown"
    try:
        address = ip_address(text)
    except ValueError:
        return ascii(text)[1:-1]
    return f"{IPv6Address(int(address) >> 64 << 64)}/64" if isinstance(address, IPv6Address) else str(address)


def printable(error: Exception) -> str:
    """The error's text, of which parts may be what a stranger sent, on one line."""
    return ascii(str(error)[:500])[1:-1]


def main() -> None:
    """Serve until the process is ended. Prints the address when it listens."""
    parser = argparse.ArgumentParser(description="Let EC2 instances in.")
    parser.add_argument("--audience", required=True, help="the name of this service to its clients, such as its URL")
    parser.add_argument(
        "--policy", required=True, type=Path, help="who may come, as JSON: the rules of ec2ident.Policy"
    )
    parser.add_argument("--store", required=True, help="the SQLite file with used nonces, and the key of each machine")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="ADDRESS:PORT; the proxy with TLS connects to it")
    parser.add_argument("--proxy", help="the proxy's address: its X-Forwarded-For names the source, no other sender's")
    parser.add_argument("--threads", type=int, default=4, help="requests at a time; default 4")
    parser.add_argument("--per-minute", type=float, default=60, help="requests of one source a minute; default 60")
    arguments = parser.parse_args()
    try:
        policy = Policy.from_mapping(json.loads(arguments.policy.read_text(encoding="utf-8")))
        store = SqliteStore(arguments.store)
        host, _, port = arguments.listen.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host.strip("[]"), int(port)), family=family)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    app = create_app(
        Admission(audience=arguments.audience, policy=policy, store=store),
        RateLimit(per_minute=arguments.per_minute, burst=20),
    )

    # waitress reads a request whole before a thread gets it, so clients that send slowly, or nothing, occupy no thread.
    from waitress import serve

    print("http://{}:{}".format(*listener.getsockname()), flush=True)
    serve(
        app,
        sockets=[listener],
        threads=arguments.threads,
        connection_limit=200,
        channel_timeout=10,  # seconds for which a connection may be silent
        max_request_header_size=8 * 1024,
        max_request_body_size=MOST,
        ident=None,  # no Server header
        trusted_proxy=arguments.proxy,
        trusted_proxy_headers={"x-forwarded-for"} if arguments.proxy else None,
        clear_untrusted_proxy_headers=True,
    )


if __name__ == "__main__":
    main()
