"""Does the instance run now, by the EC2 API's word? The check of what DescribeInstances answers.

The library has no client for the API; docs/attestation.md shows the call with botocore, in three lines.
"""

from __future__ import annotations

from .errors import NotAdmittedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ec2ident.model import Identity


def check_described(identity: Identity, instance: Mapping[str, Any] | None) -> None:
    """Compare a proven identity with its `Instance` of DescribeInstances; None stands for none in the answer.

    Raises NotAdmittedError with the code `not-running`, or `described-otherwise` where a field differs.
    """
    document = identity.document
    if instance is None:
        raise NotAdmittedError("not-running", f"instance {document.instance_id}: not in this account and region")
    state = (instance.get("State") or {}).get("Name")
    if state != "running":
        raise NotAdmittedError("not-running", f"instance {document.instance_id}: {state} (running is expected)")
    address = None if document.private_ip is None else str(document.private_ip)
    for what, described, signed in (
        ("id", instance.get("InstanceId"), document.instance_id),
        ("image", instance.get("ImageId"), document.image_id),
        ("type", instance.get("InstanceType"), document.instance_type),
        ("zone", (instance.get("Placement") or {}).get("AvailabilityZone"), document.availability_zone),
        ("private address", instance.get("PrivateIpAddress"), address),
    ):
        if signed is not None and described != signed:
            raise NotAdmittedError("described-otherwise", f"{what}: EC2 says {described} (the document says {signed})")
