"""One HTTP request and its answer through requests, with one deadline and one limit of bytes over all of it.

Deadline and limit sit in the connected socket that the caller gives (`wire.py`). So there is no name to resolve, no
proxy and no redirect to follow: nothing of the environment can send a token elsewhere. `plain.py` does the same without
requests.

This is the only module that imports requests, and it is imported when something has accepted a connection.
"""

from __future__ import annotations

import requests.adapters
import urllib3

from .wire import LARGEST_BODY, HttpAnswer, answer_of, failure_of, user_headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from requests.models import PreparedRequest, Response

    from .wire import Wire


def exchange(wire: Wire, method: str, url: str, headers: Mapping[str, str]) -> HttpAnswer:
    """Send one request over a connected wire, read the whole answer, close. Raises NoAnswerError."""
    request = requests.Request(method, url, headers=user_headers(headers)).prepare()
    adapter = _Adapter(wire)
    try:
        return _read(_sent(adapter, request, wire))
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        failure = failure_of(error, wire)
    finally:
        adapter.close()
        wire.close()
    # Raised out here, so that it does not carry the foreign error, which holds the request, which holds the token.
    raise failure


class _Adapter(requests.adapters.HTTPAdapter):
    """Speaks over the one wire that it is given, and never connects by itself."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        wire = self._wire

        class Pool(urllib3.HTTPConnectionPool):
            def _new_conn(self) -> Any:
                connection: Any = super()._new_conn()
                connection.sock, connection.auto_open = wire, 0
                return connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}


def _sent(adapter: _Adapter, request: PreparedRequest, wire: Wire) -> Response:
    return adapter.send(request, stream=True, timeout=wire.time_to_send())


def _read(response: Response) -> HttpAnswer:
    with response:
        # As it came: an answer that is compressed was not asked for, and may be a bomb.
        body = response.raw.read(LARGEST_BODY + 1, decode_content=False)
    return answer_of(response.status_code, response.headers.items(), body)
