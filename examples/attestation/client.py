#!/usr/bin/env python3
"""The instance's side: ask for a challenge, answer it with the identity document and this machine's own key.

    python client.py https://join.example.com --key /var/lib/join/machine.pem

Prints what the server says of this machine, as JSON. Exit codes: 0 let in · 1 refused · 2 wrong usage · 3 could not
tell: no answer, no metadata service, or a server that did not understand. The key stays on the machine, readable by
its owner alone; a machine that loses it is refused until the server's administrator releases its instance id.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ec2ident import Imds, ImdsError
from ec2ident.admission import prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds for one step on the network, and bytes of an answer.
PATIENCE, MOST = 10, 64 * 1024


class NoAnswerError(Exception):
    """The server could not be asked, or said to come again: worth another try, with a new challenge."""


def machine_key(path: Path) -> Ed25519PrivateKey:
    """This machine's key, made at the first start. Of two processes that make it at once, one wins, and both use it."""
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with tempfile.NamedTemporaryFile(dir=path.parent) as file:  # mode 0600, and whole before it has its name
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # the other process was faster
                os.link(file.name, path)
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path}: other users may read it; make a new key, and have the old one released")
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path}: {type(key).__name__} (an Ed25519 key is expected)")
    return key


def post(url: str, path: str, value: object) -> tuple[int, Any]:
    """Status and JSON of the answer. Follows no redirect and uses no proxy: the proof is for this server alone."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=PATIENCE)
    try:
        connection.request(
            "POST", parts.path.rstrip("/") + path, json.dumps(value), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read(MOST))
    except (OSError, HTTPException, ValueError, RecursionError) as error:  # the last two are of JSON
        raise NoAnswerError(f"{url}{path}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


def join(url: str, audience: str, key: Ed25519PrivateKey, item: str | bytes) -> tuple[int, Any]:
    """One try, with a challenge of its own: a challenge is good once, and for a minute.

    Raises ValueError for what is not a challenge for this audience: a dishonest server may pass on another server's.
    """
    status, said = post(url, "/challenge", {})
    if status == 200:
        if not isinstance(said, dict) or not isinstance(said.get("nonce"), str):
            raise ValueError(f"{url}/challenge: {ascii(said)[:200]} (a challenge is expected)")
        status, said = post(url, "/admit", prepare(said, item, key, audience=audience).to_dict())
    if status in (429, 502, 503, 504):
        raise NoAnswerError(f"{url}: {status} {ascii(said)[:200]}")
    return status, said


def main() -> int:
    """Let this machine in; the exit code says how it went."""
    parser = argparse.ArgumentParser(description="Prove to a server that this machine is its EC2 instance.")
    parser.add_argument("url", help="the server, with https://; http:// is for tests on one machine")
    parser.add_argument("--audience", help="the name that the server has; default: the URL")
    parser.add_argument("--key", required=True, type=Path, help="the file of this machine's key; made at the first use")
    parser.add_argument("--deadline", type=float, default=60, metavar="SECONDS", help="no new try after it; default 60")
    arguments = parser.parse_args()
    if urlsplit(arguments.url).scheme not in ("http", "https"):
        parser.error(f"{arguments.url}: https:// is expected")
    try:
        key = machine_key(arguments.key)
    except (OSError, ValueError, TypeError) as error:  # TypeError: the key has a password
        parser.error(str(error))
    end, pause = time.monotonic() + arguments.deadline, 0.5
    while True:
        try:
            item = Imds().identity_item("rsa2048")
            if item is None:
                raise NoAnswerError("the metadata service has no item rsa2048")
            status, said = join(arguments.url, arguments.audience or arguments.url, key, item)
            break
        except (NoAnswerError, ImdsError) as error:
            if time.monotonic() + pause > end:
                print(f"could not tell: {error}", file=sys.stderr)
                return 3
            # Machines that booted together do not come again together.
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 10)
        except ValueError as error:
            print(f"could not tell: {error}", file=sys.stderr)
            return 3
    if status == 200 and isinstance(said, dict) and "admitted" in said:
        print(json.dumps(said["admitted"]))
        return 0
    print(f"{'refused' if status == 403 else 'could not tell'}: {status} {ascii(said)[:200]}", file=sys.stderr)
    return 1 if status == 403 else 3


if __name__ == "__main__":
    sys.exit(main())
