"""`python -m ec2ident.testing`: the metadata service as a process, and `tell` to steer one that runs."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import signal
import sys
import threading
from pathlib import Path

from ec2ident.model import Kind
from ec2ident.program.arguments import Parser
from ec2ident.program.exit_codes import ACTING_LEGEND, FAILED
from ec2ident.program.frame import log, run, say

from . import control
from .behaviour import BEHAVIOURS, Behaviour
from .instance import Instance, checked, from_dict
from .service import Exchange, MetadataService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_EPILOG = f"""\
behaviours: {", ".join(BEHAVIOURS)}
verbs of tell: {", ".join(control.VERBS)}
{ACTING_LEGEND}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run("ec2ident.testing", lambda: _answer(words))


def _answer(words: list[str]) -> int:
    try:
        return _tell(words[1:]) if words[:1] == ["tell"] else _serve(words)
    except OSError as error:
        log(f"ec2ident.testing: {_said(error)}")
    except ValueError as error:
        log(f"ec2ident.testing: {error}")
    return FAILED


def _said(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _serve(words: list[str]) -> int:
    gc.enable()  # It runs until it is stopped.
    parser = _parser()
    options = parser.parse_args(words)
    try:
        service = _service(options)
    except ValueError as error:
        parser.error(str(error))
    _hold_signals()
    with contextlib.ExitStack() as stack:
        if options.control:
            stack.enter_context(control.Control(options.control, service))
        stack.enter_context(service)
        _announce(service, options)
        _wait_for_signal()
    return 0


def _service(options: argparse.Namespace) -> MetadataService:
    logger = None if options.quiet else _log
    hosts = options.host or ["127.0.0.1"]
    service = MetadataService(_instance(options), host=hosts, port=options.port, log=logger)
    for text in options.behave:
        name, *fields = text.split() or [""]
        service.add(checked(Behaviour, {"do": name, **_pairs(fields)}))
    return service


def _hold_signals() -> None:
    """Keep what ends us until it is waited for: taken at any other moment, it could be lost in a system call."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def _wait_for_signal() -> None:
    if hasattr(signal, "sigwait"):
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
        return
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def _announce(service: MetadataService, options: argparse.Namespace) -> None:
    """Say on stdout what a caller needs to know, a word and its value a line; the last line is `ready`."""
    if options.certificates:
        for path in _write_certificates(service, Path(options.certificates)):
            say(f"certificate {path}")
    for endpoint in service.endpoints:
        say(f"endpoint {endpoint}")
    say(f"instance {service.instance.instance_id} in {service.instance.region}")
    if options.control:
        say(f"control {options.control}")
    say("ready")


def _write_certificates(service: MetadataService, directory: Path) -> list[Path]:
    """What a verifier in another process needs to trust this service: a PEM file for each kind, and nothing secret."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{kind}.pem" for kind in Kind]
    for kind, path in zip(Kind, paths):
        path.write_text(service.authority.certificate(kind), encoding="ascii")
    return paths


def _log(seen: Exchange) -> None:
    status = "-" if seen.status is None else seen.status
    log(f"{seen.time:.3f} {seen.source} {seen.method} {seen.path} {status} token={seen.token}")


def _instance(options: argparse.Namespace) -> Instance:
    given = {
        "region": options.region,
        "availability_zone": options.availability_zone,
        "instance_id": options.instance_id,
        "account_id": options.account_id,
    }
    data = json.loads(Path(options.instance).read_text(encoding="utf-8")) if options.instance else {}
    if not isinstance(data, dict):
        raise ValueError(f"{options.instance}: not a JSON object")
    return from_dict({**data, **{name: value for name, value in given.items() if value is not None}})


def _tell(words: list[str]) -> int:
    parser = Parser(prog="python -m ec2ident.testing tell", description="Steer a service that runs.")
    parser.add_argument("socket", help="what the service was given as --control")
    parser.add_argument("verb", choices=list(control.VERBS))
    parser.add_argument("argument", nargs="*", help="NAME=VALUE; the value is JSON, or else text")
    options = parser.parse_args(words)
    try:
        arguments = _pairs(options.argument)
    except ValueError as error:
        parser.error(str(error))
    answer = control.Remote(options.socket).tell(options.verb, **arguments)
    if answer is not None:
        say(json.dumps(answer, indent=2))
    return 0


def _pairs(words: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE words as arguments. Raises ValueError."""
    pairs: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        try:
            pairs[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            pairs[name.replace("-", "_")] = value
    return pairs


def _parser() -> Parser:
    parser = Parser(
        prog="python -m ec2ident.testing",
        description="A metadata service like EC2's. `tell SOCKET VERB ...` steers one that runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", action="append", help="address to listen on; can be repeated (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--region", help="region of the instance (default eu-west-1)")
    parser.add_argument("--availability-zone", help="its availability zone (default: the region's a)")
    parser.add_argument("--instance-id", help="its id")
    parser.add_argument("--account-id", help="its account")
    parser.add_argument("--instance", metavar="FILE", help="JSON file with any field of ec2ident.testing.Instance")
    parser.add_argument(
        *("--behave", "-b"),
        action="append",
        default=[],
        metavar="'NAME [FIELD=VALUE ...]'",
        help="behave so from the start",
    )
    parser.add_argument("--control", metavar="SOCKET", help="Unix socket to steer the service by")
    parser.add_argument("--certificates", metavar="DIR", help="write the authority's certificates there, as KIND.pem")
    parser.add_argument("--quiet", "-q", action="store_true", help="do not log requests on stderr")
    return parser


if __name__ == "__main__":
    sys.exit(main())
