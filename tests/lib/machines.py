"""Machines as their /sys shows them: EC2 of every generation, and what is taken for it, with the verdict that is due.

Values as seen on real machines, in vendors' documentation and in other projects' issues; `made` marks those made up.
"""

from __future__ import annotations

from pathlib import Path

from ec2ident.host.linux import DMI, PRIVATE
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
    """The fields of its firmware, and the answer for root and for the user nobody."""

    fields: dict[str, str]
    root: tuple[Level, Reason]
    nobody: tuple[Level, Reason]


def _one(due: tuple[Level, Reason], **fields: str) -> Machine:
    return Machine(fields, due, due)


def _nitro(**fields: str) -> Machine:
    return _one(CLAIM, **{**NITRO, **fields})


def _xen(**fields: str) -> Machine:
    return _one(CLAIM, **{**XEN, **fields})


def _root(due: tuple[Level, Reason], nobody: tuple[Level, Reason], **fields: str) -> Machine:
    return Machine(fields, due, nobody)


def _rhel(tag: str) -> Machine:
    """What public dumps of RHEL on Nitro show."""
    words = dict.fromkeys(("bios_vendor", "board_vendor", "chassis_vendor", "chassis_asset_tag"), "Amazon EC2")
    return _one(CLAIM, bios_version="1.0", board_asset_tag=tag, **words)


def _kernel(product_name: str) -> Machine:
    """The line of the kernel's log, `DMI: Amazon EC2 c6g.xlarge/, BIOS 1.0 11/1/2018`, and nothing else."""
    return _one(CLAIM, sys_vendor="Amazon EC2", product_name=product_name, bios_version="1.0")


#: Each row has the fields that its source shows, and those alone.
EC2 = {
    "nitro t3.micro, AL2023": _nitro(),
    "nitro, AL2": _nitro(product_name="", board_asset_tag="i-01e62d6054c349e80"),
    "nitro, RHEL 8.4": _rhel("i-0534088b670bfefa8"),
    "nitro, RHEL 9.6": _rhel("i-07367dc619f39a038"),
    "nitro m5.large, SLES": _one(CLAIM, sys_vendor="Amazon EC2", product_name="m5.large"),
    "nitro trn1.32xlarge, its tag masked": _one(
        HINT, product_name="trn1.32xlarge", board_asset_tag="i-0000000000example"
    ),
    "nitro trn1.32xlarge, its tag filled in (made)": _one(
        CLAIM, product_name="trn1.32xlarge", board_asset_tag="i-00000000000000001"
    ),
    "nitro, 8 digits in the tag (made)": _nitro(board_asset_tag="i-0af01c01"),
    "nitro, uuid in the other order": _nitro(product_uuid="45E12AEC-DCD1-B213-94ED-012345ABCDEF"),
    "nitro, bios vendor empty, as on some Fargate": _nitro(bios_vendor=""),
    "t4g.large, dmidecode -t1": _one(
        CLAIM,
        sys_vendor="Amazon EC2",
        product_name="t4g.large",
        product_version="Not Specified",
        product_serial="ec24f7a0-034a-ac60-1c01-d03ed0ae0484",
        product_uuid="ec24f7a0-034a-ac60-1c01-d03ed0ae0484",
    ),
    "a1.4xlarge, kernel": _kernel("a1.4xlarge"),
    "c6g.xlarge, kernel": _kernel("c6g.xlarge"),
    "c6g.16xlarge, kernel": _kernel("c6g.16xlarge"),
    "r7g.4xlarge, kernel": _kernel("r7g.4xlarge"),
    "r5d.xlarge, kernel": _kernel("r5d.xlarge"),
    "i3.metal, kernel": _kernel("i3.metal"),
    "r8g.metal-24xl, kernel": _kernel("r8g.metal-24xl"),
    "m6g.metal": _one(CLAIM, sys_vendor="Amazon EC2", product_name="m6g.metal"),
    "asset tag and uuid, as an inventory asks for": _root(
        CLAIM, HINT, chassis_asset_tag="Amazon EC2", product_uuid="EC2E1916-9099-7CAF-FD21-012345ABCDEF"
    ),
    "xen hvm 4.11, Ubuntu 22.04": _one(
        CLAIM,
        sys_vendor="Xen",
        product_name="HVM domU",
        product_version="4.11.amazon",
        bios_vendor="Xen",
        bios_version="4.11.amazon",
        chassis_vendor="Xen",
    ),
    "xen hvm 4.11, root": _xen(),
    "xen hvm r4.2xlarge, SLES": _one(
        CLAIM, sys_vendor="Xen", product_name="HVM domU", product_version="4.2.amazon", bios_version="4.2.amazon"
    ),
    "xen hvm 4.2, uuid and serial of the same bytes": _one(
        CLAIM,
        sys_vendor="Xen",
        product_name="HVM domU",
        product_version="4.2.amazon",
        bios_vendor="Xen",
        bios_version="4.2.amazon",
        chassis_vendor="Xen",
        chassis_asset_tag="",
        product_uuid="EC2CEFAC-DCE1-EED5-4E48-83AD3EF51BFB",
        product_serial="ec2cefac-dce1-eed5-4e48-83ad3ef51bfb",
    ),
    "xen hvm, uuid in the other order": _xen(product_uuid="AB232AEC-54BE-4843-8D24-8C819F88453E"),
    "xen hvm, the modalias": _one(
        CLAIM,
        bios_vendor="Xen",
        bios_version="4.2.amazon",
        sys_vendor="Xen",
        product_name="HVMdomU",
        product_version="4.2.amazon",
        chassis_vendor="Xen",
    ),
    "xen hvm, kernel": _one(HINT, sys_vendor="Xen", product_name="HVM domU", bios_version="4.11.amazon"),
    "xen hvm 2014, bios alone": _one(HINT, bios_vendor="Xen", bios_version="4.2.amazon"),
    "xen hvm 2014, bios and uuid (made)": _root(
        CLAIM, HINT, bios_vendor="Xen", bios_version="4.2.amazon", product_uuid=UUID
    ),
    "xen hvm 3.4.3, as quipucords has it": _one(
        CLAIM, sys_vendor="Xen", bios_vendor="Xen", bios_version="3.4.3.amazon", product_version="3.4.3.amazon"
    ),
    "xen pv": _one(HINT, hypervisor_uuid="ec2c6e2f-5fac-4fc7-9c82-74127ec14bbb"),
    "xen pv, another": _one(HINT, hypervisor_uuid="ec2a0561-e4d6-8e15-d9c8-2e0e03adcde8"),
    "xen dom0": _root(HINT, NOTHING, hypervisor_uuid="00000000-0000-0000-0000-000000000000", product_uuid=UUID),
    "xen dom0 on nitro's firmware (made)": _nitro(hypervisor_uuid="00000000-0000-0000-0000-000000000000"),
    "imported from VMware, its serial and uuid kept (made)": _xen(
        product_uuid="564d1d34-5ea8-4b1c-9bcd-0123456789ab",
        product_serial="VMware-56 4d 1d 34 5e a8 4b 1c-9b cd 01 23 45 67 89 ab",
        hypervisor_uuid="",
    ),
}

#: A UUID or a serial and nothing else, as other projects and AWS's own pages show them.
ONLY_A_UUID = {
    f"only {field} {uuid[:8]}": _root(HINT, NOTHING, **{field: uuid})
    for field, uuid in (
        ("product_uuid", "EC2390F1-D11C-86B9-D8EA-C726A6E5ADE3"),
        ("product_uuid", "EC23AEF5-54BE-4843-8D24-8C819F88453E"),
        ("product_uuid", "AB232AEC-54BE-4843-8D24-8C819F88453E"),
        ("product_uuid", "EC2E1916-9099-7CAF-FD21-012345ABCDEF"),
        ("product_uuid", "45E12AEC-DCD1-B213-94ED-012345ABCDEF"),
        ("product_uuid", "EC2AE145-D1DC-13B2-94ED-012345ABCDEF"),
        ("product_serial", "ec23aef5-54be-4843-8d24-8c819f88453e"),
        ("product_serial", "ec24f7a0-034a-ac60-1c01-d03ed0ae0484"),
    )
}

#: Clouds that name themselves in one field. Each is given the UUID of an EC2 instance too.
_NAMED = (
    ("sys_vendor", "3DS Outscale"),
    ("product_name", "3DS Outscale VM"),
    ("sys_vendor", "Akamai"),
    ("sys_vendor", "DigitalOcean"),
    ("sys_vendor", "e24cloud"),
    ("sys_vendor", "Hetzner"),
    ("sys_vendor", "Linode"),
    ("sys_vendor", "NWCS"),
    ("sys_vendor", "Scaleway"),
    ("sys_vendor", "Tilaa"),
    ("sys_vendor", "UpCloud"),
    ("sys_vendor", "VMware, Inc."),
    ("sys_vendor", "Vultr"),
    ("product_name", "CloudCIX"),
    ("product_name", "CloudSigma"),
    ("product_name", "CloudStack KVM Hypervisor"),
    ("product_name", "Exoscale Compute Platform"),
    ("product_name", "Google Compute Engine"),
    ("product_name", "OpenStack Compute"),
    ("product_name", "OpenStack Nova"),
    ("product_name", "SmartDC HVM"),
    ("chassis_asset_tag", "123456.zstack.io"),
    ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77"),
    ("chassis_asset_tag", "HUAWEICLOUD"),
    ("chassis_asset_tag", "OpenStack Compute"),
    ("chassis_asset_tag", "OpenStack Nova"),
    ("chassis_asset_tag", "OpenTelekomCloud"),
    ("chassis_asset_tag", "OracleCloud.com"),
    ("chassis_asset_tag", "SAP CCloud VM"),
    ("chassis_asset_tag", "Samsung Cloud Platform"),
)

LOOK_ALIKES = {
    **{f"{field} {text}": _one(OTHER, **{field: text, "product_uuid": UUID}) for field, text in _NAMED},
    "hetzner": _one(OTHER, sys_vendor="Hetzner", product_uuid="545f25ec-662d-4691-b311-23cf1794b78c"),
    "hyper-v": _one(
        OTHER,
        sys_vendor="Microsoft Corporation",
        product_name="Virtual Machine",
        product_uuid="a83f26ec-1234-5678-abcd-ef0123456789",
    ),
    "hyper-v, vendor not shown": _root(
        HINT, NOTHING, product_name="Virtual Machine", product_uuid="a83f26ec-1234-5678-abcd-ef0123456789"
    ),
    "qemu": _one(
        OTHER,
        sys_vendor="QEMU",
        product_name="Standard PC (Q35 + ICH9, 2009)",
        bios_vendor="SeaBIOS",
        product_uuid=UUID,
    ),
    "azure": _one(
        OTHER,
        sys_vendor="Microsoft Corporation",
        product_name="Virtual Machine",
        chassis_asset_tag="7783-7084-3265-9085-8269-3286-77",
    ),
    "outscale": _one(OTHER, sys_vendor="3DS Outscale", product_name="3DS Outscale VM"),
    "outscale, nearly": _one(OTHER, sys_vendor="Not 3DS Outscale", product_name="3DS Outscale VM"),
    "outscale, its product nearly": _one(OTHER, sys_vendor="3DS Outscale", product_name="Not 3DS Outscale VM"),
    "outscale, its product nearly, and no vendor": _root(
        HINT, NOTHING, product_name="Not 3DS Outscale VM", product_uuid=UUID
    ),
    "brightbox": _root(OTHER, HINT, product_serial="srv-otuxg.gb1.brightbox.com", hypervisor_uuid=UUID),
    "brightbox, nearly": _one(HINT, product_serial="tricky-host.bobrightbox.com", hypervisor_uuid=UUID),
    "e24cloud, nearly": _one(OTHER, sys_vendor="e24cloudyday", product_uuid=UUID),
    "zstack, nearly": _root(HINT, NOTHING, chassis_asset_tag="123456.buzzstack.io", product_uuid=UUID),
    "alibaba with a xen uuid": _one(
        OTHER, product_name="Alibaba Cloud ECS", hypervisor_uuid="ec2c6e2f-5fac-4fc7-9c82-74127ec14bbb"
    ),
    "openstack on xen": _one(OTHER, sys_vendor="Xen", chassis_asset_tag="OpenTelekomCloud", product_uuid=UUID),
    "openstack without a sign of it": _root(HINT, NOTHING, product_uuid=UUID),
    "gce by its serial": _root(OTHER, HINT, product_serial="GoogleCloud-8f2e88f", hypervisor_uuid=UUID),
    "gce": _one(OTHER, product_name="Google Compute Engine", product_serial="GoogleCloud-8f2e88f"),
    "vultr, the modalias": _one(
        OTHER,
        bios_vendor="Vultr",
        sys_vendor="Vultr",
        product_name="VC2",
        product_version="pc-q35-8.2",
        chassis_vendor="QEMU",
    ),
    "supermicro": _one(
        OTHER,
        sys_vendor="Supermicro",
        product_name="X10SLH-N6-ST031",
        product_serial="0123456789",
        product_uuid="00000000-0000-0000-0000-0CC47A8F7618",
    ),
    "the vendor's name in another form (made)": _one(HINT, sys_vendor="Amazon EC2 compatible", product_uuid=UUID),
    "the vendor's name in capitals, SUSE/susecloud-repocheck#14": _one(HINT, sys_vendor="AMAZON EC2"),
    "two names of Amazon's in forms that are not known (made)": _one(HINT, sys_vendor="AWS", bios_vendor="Amazon"),
    "nearly Amazon's name (made)": _one(OTHER, sys_vendor="AWStar", product_uuid=UUID),
    "neutral": _one(NOTHING, product_serial="H23-C4J3JV-R6", product_uuid="81c7e555-6471-4833-9551-1ab366c4cfd2"),
    "a product name like an instance type, as gVisor shows": _one(HINT, product_name="m5.large"),
    "a product name nearly like an instance type": _one(NOTHING, product_name="x10.slh"),
    "xen of another vendor": _root(
        HINT, NOTHING, sys_vendor="Xen", bios_version="4.11.0", product_version="4.11.0", product_uuid=UUID
    ),
    "uninitialised": _one(NOTHING, sys_vendor="\xff" * 8, product_uuid="ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "no firmware": _one(NOTHING),
    "amazon's words in qemu's bios (made)": _one(CONTRADICTION, **{**NITRO, "bios_vendor": "SeaBIOS"}),
    "amazon's words in an openstack (made)": _one(CONTRADICTION, **{**NITRO, "product_name": "OpenStack Nova"}),
}

#: Local evidence cannot tell it from EC2, and does not pretend to: only a signature can.
INDISTINGUISHABLE = {
    "qemu that fakes every field (made)": _nitro(board_asset_tag="i-0123456789abcdef0", product_uuid=UUID)
}

MACHINES = {**EC2, **ONLY_A_UUID, **LOOK_ALIKES, **INDISTINGUISHABLE}


class Windows(Value):
    """What its registry has, what its programs write, and the verdict that is due."""

    due: tuple[Level, Reason]
    registry: dict[str, str] | None = None
    wmic: bytes = b""
    powershell: bytes = b""


def _systeminfo(due: tuple[Level, Reason], maker: str, model: str, bios: str, version: str) -> Windows:
    """What systeminfo prints is what the registry has."""
    names = ("SystemManufacturer", "SystemProductName", "BIOSVendor", "BIOSVersion")
    return Windows(due, dict(zip(names, (maker, model, bios, version))))


def _wmic(due: tuple[Level, Reason], **product: str) -> Windows:
    """wmic's table of Win32_ComputerSystemProduct: each column as wide as its longest text and two blanks."""
    widths = {name: max(len(name), len(text)) + 2 for name, text in product.items()}
    rows = ("".join(f"{text:{widths[name]}}" for name, text in row) for row in (zip(product, product), product.items()))
    return Windows(due, wmic="".join(f"{row}\r\r\n" for row in (*rows, "")).encode())


def _cim(due: tuple[Level, Reason], **product: str) -> Windows:
    """PowerShell's Format-List of the same."""
    return Windows(due, powershell="".join(f"{name:17} : {text}\r\n" for name, text in product.items()).encode())


_XEN_SWAPPED = {
    "IdentifyingNumber": "ec2a355a-91cd-5fe8-bbfc-cc891d0bf9d6",
    "Name": "HVM domU",
    "UUID": "5A352AEC-CD91-E85F-BBFC-CC891D0BF9D6",
    "Vendor": "Xen",
    "Version": "4.2.amazon",
}
_XEN_PLAIN = {
    **_XEN_SWAPPED,
    "IdentifyingNumber": "ec2d6aad-f59b-a10d-5784-ca9b7ba4f727",
    "UUID": "EC2D6AAD-F59B-A10D-5784-CA9B7BA4F727",
}
_SUPERMICRO = {
    "IdentifyingNumber": "0123456789",
    "Name": "X10SLH-N6-ST031",
    "UUID": "00000000-0000-0000-0000-0CC47A8F7618",
    "Vendor": "Supermicro",
}
_UUID_COLUMN = "UUID                                  \r\r\n"

WINDOWS = {
    "wmic, uuid alone": Windows(
        HINT, wmic=f"{_UUID_COLUMN}EC20EBD7-8E03-06A8-645F-2D22E5A3BA4B  \r\r\n\r\r\n".encode()
    ),
    "wmic, uuid alone, in UTF-16": Windows(
        HINT, wmic=b"\xff\xfe" + f"{_UUID_COLUMN}EC20EBD7-8E03-06A8-645F-2D22E5A3BA4B  \r\r\n".encode("utf-16-le")
    ),
    "wmic, uuid of another": Windows(
        NOTHING, wmic=f"{_UUID_COLUMN}36CC511A-F0DE-EA11-8106-842AFDCE34D0  \r\r\n\r\r\n".encode()
    ),
    "wmic, a header only": Windows(NOTHING, wmic=b"UUID  \r\r\n\r\r\n"),
    "wmic, uuid all zeros": Windows(
        NOTHING, wmic=f"{_UUID_COLUMN}00000000-0000-0000-0000-000000000000  \r\r\n\r\r\n".encode()
    ),
    "wmic, xen, uuid swapped": _wmic(CLAIM, **_XEN_SWAPPED),
    "wmic, xen, uuid plain": _wmic(CLAIM, **_XEN_PLAIN),
    "wmic, supermicro": _wmic(OTHER, **_SUPERMICRO),
    "cim, xen, uuid swapped": _cim(CLAIM, **_XEN_SWAPPED),
    "cim, xen, uuid plain": _cim(CLAIM, **_XEN_PLAIN),
    "cim, supermicro": _cim(OTHER, **_SUPERMICRO),
    **{
        f"systeminfo, nitro {size}": _systeminfo(CLAIM, "Amazon EC2", size, "Amazon EC2", "1.0")
        for size in ("t3a.nano", "t3a.micro", "t3a.small", "t3a.medium")
    },
    "systeminfo, xen": _systeminfo(HINT, "Xen", "HVM domU", "Xen", "4.11.amazon"),
    "systeminfo, xen, and cim": Windows(
        CLAIM,
        _systeminfo(HINT, "Xen", "HVM domU", "Xen", "4.11.amazon").registry,
        powershell=_cim(CLAIM, **_XEN_PLAIN).powershell,
    ),
    "systeminfo, hyper-v": _systeminfo(
        OTHER, "Microsoft Corporation", "Virtual Machine", "Microsoft Corporation", "Hyper-V UEFI Release v4.1"
    ),
}


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
