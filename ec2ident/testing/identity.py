"""The instance identity document of an instance, and the four items below `/latest/dynamic/instance-identity/`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from ec2ident.model import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .instance import Instance
    from .signing import Authority

#: EC2 signs one to thirteen seconds after the launch.
_SIGNED_AFTER = timedelta(seconds=5)


def items(instance: Instance, authority: Authority) -> dict[str, bytes]:
    """The document and its three signatures by their names, in the order in which EC2 lists them."""
    text = document(instance)
    signed_at = datetime.fromisoformat(instance.pending_time.replace("Z", "+00:00")) + _SIGNED_AFTER
    signed = {str(kind): authority.sign(text, kind, signed_at).encode() for kind in Kind}
    return {"rsa2048": signed["rsa2048"], "document": text, **signed}


def document(instance: Instance) -> bytes:
    """The document in the exact form that EC2 writes: these 15 fields, this order, a blank before the colon.

    The form is that of every public document since 2020 ("Instance identity documents"): lists on one line, no final
    newline.
    """
    fields = {
        "accountId": instance.account_id,
        "architecture": instance.architecture,
        "availabilityZone": instance.availability_zone,
        "billingProducts": instance.billing_products,
        "devpayProductCodes": None,
        "marketplaceProductCodes": instance.marketplace_product_codes,
        "imageId": instance.image_id,
        "instanceId": instance.instance_id,
        "instanceType": instance.instance_type,
        "kernelId": None,
        "pendingTime": instance.pending_time,
        "privateIp": instance.private_ip or None,
        "ramdiskId": None,
        "region": instance.region,
        "version": "2017-09-30",
    }
    return ("{\n" + ",\n".join(f'  "{name}" : {_text(value)}' for name, value in fields.items()) + "\n}").encode()


def _text(value: str | tuple[str, ...] | None) -> str:
    if isinstance(value, tuple):
        return f"[ {', '.join(json.dumps(item) for item in value)} ]" if value else "null"
    return json.dumps(value)
