"""Which instance is this, and in which region: configured, by environment or firmware, or from the metadata service.

The metadata service comes last: a cluster's action must not hang on it.
"""

from __future__ import annotations

import os

from .aws.response import is_a
from .errors import UnknownError
from .settings import region as checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .aws.deadline import Deadline

    Metadata = Callable[[str], str]

#: Nitro instances carry their id here, readable by everybody.
BOARD_TAG = "sys/devices/virtual/dmi/id/board_asset_tag"


def region_of(given: str, environ: Mapping[str, str], metadata: Metadata) -> str:
    """Raises UsageError for what is no region, UnknownError where nobody says."""
    found = given or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return checked(found or metadata("meta-data/placement/region"))


def instance_of(given: str, root: str, metadata: Metadata) -> str:
    """The instance's id. Raises UnknownError where nobody says."""
    found = given or board_tag(root) or metadata("meta-data/instance-id")
    if not is_a("instance", found):
        raise UnknownError(f'instance: {found[:64]!r} is no id of an instance; write instance = "i-…"')
    return found


def board_tag(root: str) -> str:
    try:
        with open(os.path.join(root, BOARD_TAG), encoding="ascii", errors="replace") as file:
            text = file.read(64).strip()
    except OSError:
        return ""
    return text if is_a("instance", text) else ""


def metadata_service(environ: Mapping[str, str], deadline: Deadline) -> Metadata:
    """Ask the metadata service, within the deadline. AWS_EC2_METADATA_SERVICE_ENDPOINT is honoured, as the SDKs do."""

    def get(path: str) -> str:
        from ec2ident.errors import ImdsError
        from ec2ident.imds import Imds

        try:
            found = Imds.from_environment(environ, timeout=min(3.0, max(0.01, deadline.left))).get(path)
        except (ImdsError, ValueError) as error:
            raise UnknownError(f"{path.rpartition('/')[2]}: {error}; configure it, or give it as an option") from None
        if not found:
            raise UnknownError(f"{path.rpartition('/')[2]}: the metadata service has none; configure it")
        return found

    return get
