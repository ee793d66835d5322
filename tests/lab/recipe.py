"""The published recipe as configuration: a second ENI with a table of its own, and an overlay address on the first."""

from __future__ import annotations

CONFIGURATION = """\
[interface.eth1]
subnet     = "10.0.1.0/24"
router     = "10.0.1.1"
table      = 100
table_name = "MYHA"
priority   = 100

[[overlay]]
address = "192.168.10.10/32"
device  = "eth0"
label   = "eth0:1"
"""


def without(configuration: str, *keys: str) -> str:
    """A configuration without the lines of some keys."""
    lines = configuration.splitlines(keepends=True)
    return "".join(line for line in lines if line.partition("=")[0].strip() not in keys)


#: Without a name for the table: nothing is written to a file.
NAMELESS = without(CONFIGURATION, "table_name", "priority")

#: The recipe in a simulated VPC that has IPv6 too (tests/lab/vpc.py).
BOTH_FAMILIES = CONFIGURATION.replace('"10.0.1.0/24"', '["10.0.1.0/24", "2001:db8:ec2:1::/64"]').replace(
    '"10.0.1.1"', '["10.0.1.1", "fe80:ec2::1"]'
)
