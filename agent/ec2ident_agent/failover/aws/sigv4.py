"""Signature Version 4 of a request: "Signing AWS API requests" in the IAM User Guide. Pure."""

from __future__ import annotations

import hashlib
import hmac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Credentials


def sign(
    credentials: Credentials,
    *,
    service: str,
    region: str,
    method: str,
    host: str,
    path: str,
    query: str,
    body: bytes,
    now: str,
) -> dict[str, str]:
    """The headers that sign a request. `now` is UTC as `20260131T235959Z`; `query` is sorted and percent-encoded."""
    headers = {"host": host, "x-amz-date": now}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    names = ";".join(headers)
    scope = f"{now[:8]}/{region}/{service}/aws4_request"
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + credentials.secret.encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    said = f"Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {said}"}
