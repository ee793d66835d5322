"""Machines as their /sys shows them: EC2 of every generation, and what is taken for it, with the verdict that is due.

Values as seen on real machines, in vendors' documentation and in other projects' issues; `made` marks those made up.
"""

from __future__ import annotations

from pathlib import Path

from ec2ident.host import DMI, PRIVATE
from ec2ident.model import Level, Reason
from ec2ident.value import Value

UUID = "ec2d1f00-1c1c-4a4a-8b8b-0123456789ab"

CLAIM = (Level.CLAIM, Reason.FIRMWARE)
HINT = (Level.HINT, Reason.ONE_HINT)
CONTRADICTION = (Level.HINT, Reason.CONTRADICTION)
NOTHING = (Level.NONE, Reason.NO_EVIDENCE)
OTHER = (Level.NONE, Reason.OTHER_VENDOR)

NITRO = {
    "sys_vendor": "Amazon EC2",
    "product_name": "t3.micro",
    "product_version": "",
    "bios_vendor": "Amazon EC2",
    "bios_version": "1.0",
    "board_vendor": "Amazon EC2",
    "board_asset_tag": "i-04d99e6aac20e7547",
    "chassis_vendor": "Amazon EC2",
    "chassis_asset_tag": "Amazon EC2",
    "product_uuid": "EC2390F1-D11C-86B9-D8EA-C726A6E5ADE3",
    "product_serial": "ec2390f1-d11c-86b9-d8ea-c726a6e5ade3",
}
XEN = {
    "sys_vendor": "Xen",
    "product_name": "HVM domU",
    "product_version": "4.11.amazon",
    "bios_vendor": "Xen",
    "bios_version": "4.11.amazon",
    "chassis_vendor": "Xen",
    "product_uuid": "EC2CEFAC-DCE1-EED5-4E48-83AD3EF51BFB",
    "product_serial": "ec2cefac-dce1-eed5-4e48-83ad3ef51bfb",
    "hypervisor_uuid": "ec2a0561-e4d6-8e15-d9c8-2e0e03adcde8",
}


class Machine(Value):
    """The fields that its firmware has, what root is told, and what everybody else is."""

    fields: dict[str, str]
    root: tuple[Level, Reason]
    nobody: tuple[Level, Reason]


def _one(due: tuple[Level, Reason], **fields: str) -> Machine:
    return Machine(fields, due, due)


def _nitro(**fields: str) -> Machine:
    return _one(CLAIM, **{**NITRO, **fields})


EC2 = {
    "nitro t3.micro, AL2023": _nitro(),
    "nitro, AL2": _nitro(product_name="", board_asset_tag="i-01e62d6054c349e80"),
    "nitro m5.large, SLES": _one(CLAIM, sys_vendor="Amazon EC2", product_name="m5.large"),
    "nitro trn1.32xlarge": _nitro(product_name="trn1.32xlarge", board_asset_tag="i-0000000000example"),
    "graviton2 t4g.large": _nitro(product_name="t4g.large", product_version="Not Specified"),
    "i3.metal": _nitro(product_name="i3.metal"),
    "r8g.metal-24xl": _nitro(product_name="r8g.metal-24xl"),
    "m6g.metal": _one(CLAIM, sys_vendor="Amazon EC2", product_name="m6g.metal"),
    "nitro, uuid in the other order": _nitro(product_uuid="45E12AEC-DCD1-B213-94ED-012345ABCDEF"),
    "xen hvm 4.11": _one(CLAIM, **XEN),
    "xen hvm 4.2": _one(CLAIM, **{**XEN, "product_version": "4.2.amazon", "bios_version": "4.2.amazon"}),
    "xen hvm, uuid in the other order": _one(CLAIM, **{**XEN, "product_uuid": "AB232AEC-54BE-4843-8D24-8C819F88453E"}),
    "xen hvm 2014, bios alone": Machine(
        {"bios_vendor": "Xen", "bios_version": "4.2.amazon", "product_uuid": UUID}, CLAIM, HINT
    ),
    "xen pv": _one(HINT, hypervisor_uuid="ec2c6e2f-5fac-4fc7-9c82-74127ec14bbb"),
    "xen dom0": _nitro(hypervisor_uuid="00000000-0000-0000-0000-000000000000"),
    "bios vendor empty, as on some Fargate": _nitro(bios_vendor=""),
}

LOOK_ALIKES = {
    "hetzner": _one(OTHER, sys_vendor="Hetzner", product_uuid="545f25ec-662d-4691-b311-23cf1794b78c"),
    "hyper-v": _one(
        OTHER,
        sys_vendor="Microsoft Corporation",
        product_name="Virtual Machine",
        product_uuid="a83f26ec-1234-5678-abcd-ef0123456789",
    ),
    "qemu": _one(
        OTHER,
        sys_vendor="QEMU",
        product_name="Standard PC (Q35 + ICH9, 2009)",
        bios_vendor="SeaBIOS",
        product_uuid=UUID,
    ),
    "outscale": _one(OTHER, sys_vendor="3DS Outscale", product_name="3DS Outscale VM", product_uuid=UUID),
    "outscale, product alone": _one(OTHER, product_name="3DS Outscale VM", product_uuid=UUID),
    "brightbox": _one(NOTHING, product_serial="tricky-host.bobrightbox.com"),
    "brightbox, real": Machine({"product_serial": "srv-otuxg.gb1.brightbox.com", "hypervisor_uuid": UUID}, OTHER, HINT),
    "e24cloud": _one(OTHER, sys_vendor="e24cloud", product_uuid=UUID),
    "zstack": _one(OTHER, chassis_asset_tag="123456.zstack.io", hypervisor_uuid=UUID),
    "zstack, nearly": _one(NOTHING, chassis_asset_tag="123456.buzzstack.io"),
    "tilaa": _one(OTHER, sys_vendor="Tilaa", product_uuid=UUID),
    "alibaba with a xen uuid": _one(OTHER, product_name="Alibaba Cloud ECS", hypervisor_uuid=UUID),
    "openstack": _one(OTHER, product_name="OpenStack Nova", product_uuid=UUID),
    "openstack by chassis": _one(OTHER, sys_vendor="Xen", chassis_asset_tag="OpenTelekomCloud", product_uuid=UUID),
    "azure": _one(OTHER, chassis_asset_tag="7783-7084-3265-9085-8269-3286-77", product_uuid=UUID),
    "gce": _one(OTHER, product_name="Google Compute Engine", product_uuid=UUID),
    "gce by serial": Machine({"product_serial": "GoogleCloud-8f2e88f", "hypervisor_uuid": UUID}, OTHER, HINT),
    "oracle": _one(OTHER, chassis_asset_tag="OracleCloud.com", product_uuid=UUID),
    "smartdc": _one(OTHER, product_name="SmartDC HVM", product_uuid=UUID),
    "vultr": _one(OTHER, sys_vendor="Vultr", product_name="VC2", product_uuid=UUID),
    "digitalocean": _one(OTHER, sys_vendor="DigitalOcean", bios_vendor="DigitalOcean", product_uuid=UUID),
    "supermicro": _one(OTHER, sys_vendor="Supermicro", product_name="X10SLH-N6-ST031"),
    "nearly the vendor's name": _one(OTHER, sys_vendor="Amazon EC2 compatible", product_uuid=UUID),
    "neutral": _one(NOTHING, product_serial="H23-C4J3JV-R6", product_uuid="81c7e555-6471-4833-9551-1ab366c4cfd2"),
    "a product name like an instance type": _one(NOTHING, product_name="t3.micro"),
    "xen of somebody else": Machine(
        {"sys_vendor": "Xen", "bios_version": "4.11.0", "product_version": "4.11.0", "product_uuid": UUID},
        HINT,
        NOTHING,
    ),
    "uninitialised": _one(NOTHING, sys_vendor="\xff" * 8, product_uuid="ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "no firmware": _one(NOTHING),
    "amazon's words in qemu's bios (made)": _one(CONTRADICTION, **{**NITRO, "bios_vendor": "SeaBIOS"}),
    "amazon's words in an openstack (made)": _one(CONTRADICTION, **{**NITRO, "product_name": "OpenStack Nova"}),
}

#: Local evidence cannot tell it from EC2, and does not pretend to: only a signature can.
INDISTINGUISHABLE = {"qemu that fakes every field (made)": _nitro(product_uuid=UUID)}

MACHINES = {**EC2, **LOOK_ALIKES, **INDISTINGUISHABLE}


def build(top: Path, machine: Machine, *, privileged: bool = True) -> str:
    """The machine's /sys below `top`. What root alone may read is a directory for others: it cannot be read either."""
    (top / "sys/class").mkdir(parents=True)
    for name, text in machine.fields.items():
        path = top / ("sys/hypervisor/uuid" if name == "hypervisor_uuid" else f"{DMI}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in PRIVATE and not privileged:
            path.mkdir()
        else:
            path.write_bytes(text.encode("latin-1") + b"\n")
    return str(top)
