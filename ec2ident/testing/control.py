"""Steering a service that runs as a process: one JSON object a line over a Unix socket, one line back.

A Unix socket, not a port: it is reached from every network namespace, and only by the user who started the service, so
what is under test never finds it by itself. `Remote` speaks it from Python, `python -m ec2ident.testing tell` from a
shell. `{"verb": "behave", "do": "hop-limit", "times": 1}` is answered by `{"ok": …}` or `{"error": "…"}`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import threading

from ec2ident.value import as_dict

from .behaviour import Behaviour
from .instance import checked, from_dict, interface_from_dict, to_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Any

    from .service import MetadataService

_LONGEST_LINE = 1024 * 1024
_PATIENCE = 30.0


def obey(service: MetadataService, order: dict[str, Any]) -> Any:
    """Do one order, and return its answer as JSON data. Raises ValueError for what makes no sense."""
    verb = order.pop("verb", None)
    act = VERBS.get(str(verb))
    if act is None:
        raise ValueError(f"no verb {verb!r}: there are {', '.join(VERBS)}")
    try:
        return act(service, **order)
    except TypeError as error:
        raise ValueError(f"{verb}: {error}") from None
    except KeyError as error:
        raise ValueError(f"{verb}: no interface has the MAC {error.args[0]}") from None


def _behave(service: MetadataService, **how: Any) -> None:
    if "do" not in how:
        raise ValueError("behave: do is missing, such as do=hop-limit")
    service.add(checked(Behaviour, how))


def _instance(service: MetadataService, **changes: Any) -> dict[str, Any]:
    if changes:
        service.instance = from_dict({**to_dict(service.instance), **changes})
    return to_dict(service.instance)


def _attach(
    service: MetadataService, listed_after: float = 0, numbered_after: float = 0, **interface: Any
) -> dict[str, Any]:
    service.attach(interface_from_dict(interface), listed_after=listed_after, numbered_after=numbered_after)
    return to_dict(service.instance)


def _detach(service: MetadataService, mac: str) -> dict[str, Any]:
    service.detach(mac)
    return to_dict(service.instance)


def _assign(service: MetadataService, mac: str, **changes: Any) -> dict[str, Any]:
    new = interface_from_dict({**as_dict(service.instance.interface(mac)), **changes})
    service.assign(mac, **{name: getattr(new, name) for name in changes})
    return to_dict(service.instance)


def _requests(service: MetadataService) -> list[dict[str, Any]]:
    return [as_dict(exchange) for exchange in service.requests]


#: Every verb; its arguments are the other fields of the order.
VERBS: dict[str, Callable[..., Any]] = {
    "behave": _behave,
    "reset": lambda service: service.reset(),
    "instance": _instance,
    "attach": _attach,
    "detach": _detach,
    "assign": _assign,
    "requests": _requests,
    "forget-requests": lambda service: service.forget_requests(),
    "forget-tokens": lambda service: service.forget_tokens(),
}


class Control:
    """A Unix socket that only this user may connect to, obeyed by a thread while the context lasts. Raises OSError."""

    def __init__(self, path: str | Path, service: MetadataService) -> None:
        self.path = path
        self._service = service

    def __enter__(self) -> Control:
        self._listener = _listener(self.path)
        self._thread = threading.Thread(target=self._serve, name="ec2ident-testing-control", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread out of accept
        self._thread.join(_PATIENCE)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _serve(self) -> None:
        """Take orders, one connection after the other, until the listener is shut down."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError), connection.makefile("rwb") as stream:
                connection.settimeout(_PATIENCE)
                while line := stream.readline(_LONGEST_LINE):
                    stream.write(_answer(self._service, line) + b"\n")
                    stream.flush()


def _unix_socket() -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "Python has no Unix sockets on this system")
    return socket.socket(socket.AF_UNIX)


def _listener(path: str | Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):  # left by a service that was killed; other files are kept
            os.unlink(path)
    listener = _unix_socket()
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror}") from None
    finally:
        os.umask(before)
    listener.listen(16)
    return listener


def _answer(service: MetadataService, line: bytes) -> bytes:
    try:
        order = json.loads(line)
        if not isinstance(order, dict):
            raise ValueError('an order is a JSON object, such as {"verb": "requests"}')
        return json.dumps({"ok": obey(service, order)}).encode()
    except ValueError as error:
        return json.dumps({"error": str(error)}).encode()


class Remote:
    """The service behind a control socket; each verb is a method: `Remote(path).behave(do="hop-limit", times=1)`."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def tell(self, verb: str, **arguments: Any) -> Any:
        """Give one order, and return its answer. Raises ValueError with what the service says, OSError without it."""
        with _unix_socket() as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(os.fspath(self.path))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
                stream.flush()
                answer = json.loads(stream.readline() or b'{"error": "the service closed the connection"}')
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["ok"]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = name.replace("_", "-")
        if verb not in VERBS:
            raise AttributeError(name)
        return lambda **arguments: self.tell(verb, **arguments)
