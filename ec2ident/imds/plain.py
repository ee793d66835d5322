"""One HTTP request and its answer through http.client: as `http.py` with requests, for programs that start often.

To load requests takes four times as long as Python itself. An agent of a cluster engine would pay that every ten
seconds, to ask for two small items.
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException

from .wire import LARGEST_BODY, HttpAnswer, answer_of, failure_of, user_headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .wire import Wire


def exchange(wire: Wire, method: str, url: str, headers: Mapping[str, str]) -> HttpAnswer:
    """Send one request over a connected wire, read the whole answer, close. Raises NoAnswerError."""
    host, slash, target = url.partition("://")[2].partition("/")
    connection = HTTPConnection(host)
    # It speaks over the one wire that it is given, and never connects by itself.
    connection.sock, connection.auto_open = wire, 0
    try:
        wire.settimeout(wire.time_to_send())
        connection.request(method, slash + target, headers=user_headers(headers))
        with connection.getresponse() as response:
            return answer_of(response.status, response.getheaders(), response.read(LARGEST_BODY + 1))
    except (HTTPException, OSError, ValueError) as error:
        failure = failure_of(error, wire)
    finally:
        connection.close()
        wire.close()
    # Raised out here, so that it does not carry the other error, which may hold the request, which holds the token.
    raise failure
