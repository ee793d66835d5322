"""The SMBIOS fields that machines show, by the names under /sys/class/dmi/id, for `pretend(firmware=…)`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .instance import Instance

#: A field that is an instance's own is written as `{instance_id}` and so on, and filled in by `fields`.
KINDS: dict[str, dict[str, str]] = {
    # EC2 instances on the Nitro System, metal instances included.
    "nitro": {
        "sys_vendor": "Amazon EC2",
        "product_name": "{instance_type}",
        "product_version": "",
        "product_uuid": "{uuid}",
        "product_serial": "{uuid}",
        "bios_vendor": "Amazon EC2",
        "bios_version": "1.0",
        "board_vendor": "Amazon EC2",
        "board_asset_tag": "{instance_id}",
        "chassis_vendor": "Amazon EC2",
        "chassis_asset_tag": "Amazon EC2",
    },
    # EC2 instances of the generations before.
    "xen": {
        "sys_vendor": "Xen",
        "product_name": "HVM domU",
        "product_version": "4.11.amazon",
        "product_uuid": "{uuid}",
        "product_serial": "{uuid}",
        "bios_vendor": "Xen",
        "bios_version": "4.11.amazon",
        "chassis_vendor": "Xen",
    },
    # A virtual machine elsewhere.
    "qemu": {
        "sys_vendor": "QEMU",
        "product_name": "Standard PC (Q35 + ICH9, 2009)",
        "product_version": "pc-q35-8.2",
        "bios_vendor": "SeaBIOS",
        "bios_version": "1.16.3",
        "chassis_vendor": "QEMU",
    },
    # A machine without SMBIOS, or a sandbox that hides it.
    "none": {},
}

#: The fields that root alone may read.
PRIVATE = ("product_uuid", "product_serial")


def fields(firmware: str | Mapping[str, str], instance: Instance | None) -> dict[str, str]:
    """The fields of a kind of machine, with those of this instance; a mapping is taken as it is. Raises ValueError."""
    if not isinstance(firmware, str):
        unknown = sorted(set(firmware) - set(KINDS["nitro"]))
        if unknown:
            raise ValueError(f"firmware: no field {', '.join(unknown)} (there are {', '.join(sorted(KINDS['nitro']))})")
        return dict(firmware)
    if firmware not in KINDS:
        raise ValueError(f"firmware: {firmware!r} is none of {', '.join(KINDS)}; or give the fields as a mapping")
    if instance is None:
        if firmware in ("nitro", "xen"):
            raise ValueError(f"firmware: {firmware} is that of an instance, and none is given")
        return dict(KINDS[firmware])
    digits = instance.instance_id.rpartition("-")[2].rjust(17, "0")[-17:]
    own = {
        "instance_id": instance.instance_id,
        "instance_type": instance.instance_type,
        "uuid": f"ec2{digits[:5]}-{digits[5:9]}-4{digits[9:12]}-a{digits[12:15]}-{digits[15:]:0<12}",
    }
    return {name: text.format(**own) for name, text in KINDS[firmware].items()}
