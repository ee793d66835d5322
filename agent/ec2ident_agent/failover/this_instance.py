"""Which instance this is, and in which region: from settings, environment or firmware, or from the metadata service.

The metadata service is asked last: a monitor of a cluster engine must not hang on it.
"""

from __future__ import annotations

import os

from .aws.forms import named
from .aws.forms import region as region_name
from .aws.response import is_a
from .errors import ApiUnknownError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .aws.deadline import Deadline

    Metadata = Callable[[str], str]

#: Nitro instances have their id here, readable by every user.
BOARD_TAG = "sys/devices/virtual/dmi/id/board_asset_tag"


def region_of(given: str, environ: Mapping[str, str], metadata: Metadata) -> str:
    """The name of the region. Raises UsageError for a malformed name, ApiUnknownError if no source names one."""
    found = given or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return named("region", region_name, found or metadata("meta-data/placement/region"))


def instance_of(given: str, root: str, metadata: Metadata) -> str:
    """The id of the instance. Raises ApiUnknownError if no source names it."""
    found = given or board_tag(root) or metadata("meta-data/instance-id")
    if not is_a("instance", found):
        raise ApiUnknownError(f'instance: {found[:64]!r} is not the id of an instance; write instance = "i-…"')
    return found


def board_tag(root: str) -> str:
    """The instance id in the firmware's board asset tag, or ""."""
    try:
        with open(os.path.join(root, BOARD_TAG), encoding="ascii", errors="replace") as file:
            text = file.read(64).strip()
    except OSError:
        return ""
    return text if is_a("instance", text) else ""


def metadata_service(environ: Mapping[str, str], deadline: Deadline, *, patient: bool = False) -> Metadata:
    """A function that asks the metadata service within the deadline; `patient`: see `aws.metadata`."""

    def get(path: str) -> str:
        from ec2ident.errors import ImdsError

        from .aws import metadata

        item = path.rpartition("/")[2]
        key = item.partition("-")[0]
        try:
            found = metadata.client(environ, deadline.left, patient=patient).get(path)
        except (ImdsError, ValueError) as error:
            raise ApiUnknownError(f"{item}: {error}; or write {key} in the configuration, or --{key}") from None
        if not found:
            raise ApiUnknownError(f"{item}: the metadata service has none; write {key} in the configuration")
        return found

    return get
