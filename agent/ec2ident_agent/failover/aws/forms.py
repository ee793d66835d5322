"""The forms of texts that users write: ids, addresses, tags, names. Pure.

Each check returns the text in its normal spelling, or raises UsageError without saying where the text was written.
`named` adds that: the flag, the key of the configuration, or the OCF parameter.
"""

from __future__ import annotations

import re

from ec2ident_agent.failover.errors import FailoverError, UsageError
from ec2ident_agent.inet import is_device_name

from .response import address as normal_address
from .response import is_a
from .response import name as normal_name
from .response import network as normal_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: As an expected owner: there must not be an owner at all.
NO_OWNER = "nobody"

_EXAMPLES = {
    "table": "a route table (rtb-…)",
    "interface": "a network interface (eni-…)",
    "instance": "an instance (i-…)",
    "subnet": "a subnet (subnet-…)",
    "group": "a security group (sg-…)",
    "vpc": "a VPC (vpc-…)",
    "allocation": "an Elastic IP (eipalloc-…)",
    "account": "an account (12 digits)",
    "zone": "a hosted zone (Z…)",
}


def named(name: str, check: Callable[[str], str], text: str) -> str:
    """Return what `check` returns for the text. Raises UsageError that begins with the name."""
    try:
        return check(text)
    except FailoverError as error:
        raise UsageError(f"{name}: {error}") from None


def identifier(shape: str) -> Callable[[str], str]:
    """Return the check for one kind of id; `shape` is a key of `aws.response.SHAPES`."""

    def check(text: str) -> str:
        if not is_a(shape, text):
            raise UsageError(f"{text!r} is not the id of {_EXAMPLES[shape]}")
        return text

    return check


def region(text: str) -> str:
    """The name of a region, such as eu-west-1."""
    if not is_a("region", text):
        raise UsageError(f"{text!r} is not the name of a region")
    return text


def role(text: str) -> str:
    """The ARN of an IAM role."""
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,576}", text, re.ASCII):
        raise UsageError(f"{text!r} is not the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)")
    return text


def principal(text: str) -> str:
    """The ARN of a role or a user."""
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/[\w+=,.@/-]{1,576}", text, re.ASCII):
        raise UsageError(f"{text!r} is not the ARN of a role or a user (arn:aws:iam::ACCOUNT:role/NAME)")
    return text


def endpoint(text: str) -> str:
    """The URL of an API, without a final slash: `http[s]://HOST[:PORT]` and nothing else."""
    if not re.fullmatch(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?/?", text, re.ASCII):
        raise UsageError(f"{text[:200]!r} is not https://HOST[:PORT]")
    return text.rstrip("/")


def zone(text: str) -> str:
    """A hosted zone by its id (`Z…`, `/hostedzone/Z…` or its ARN), or by its name, which has a dot.

    Returns the id, or the name with a final dot.
    """
    found = re.sub(r"^(arn:aws[a-z-]*:route53:::hostedzone/|/?hostedzone/)", "", text)
    if is_a("zone", found):
        return found
    if "." in text and re.fullmatch(r"[A-Za-z0-9_*.\\-]{1,255}", text, re.ASCII) and ".." not in text:
        return normal_name(text) + "."
    raise UsageError(f"{text!r} is not the id of {_EXAMPLES['zone']} and not its name (example.corp)")


def change(text: str) -> str:
    """The id of a change of Route 53: `C…` or `/change/C…`."""
    found = text.replace("/change/", "")
    if not is_a("change", found):
        raise UsageError(f"{text!r} is not the id of a change (C…)")
    return found


def tag(text: str) -> str:
    """A tag KEY=VALUE that selects exactly one value: API filters accept wildcards, but IAM conditions do not."""
    key, mark, value = text.partition("=")
    if not (key and mark and value) or {*"*?\\"} & {*text}:
        raise UsageError(f"tag {text!r} is not KEY=VALUE (without wildcards)")
    return text


def address(text: str) -> str:
    """An IP address without a scope."""
    try:
        return normal_address(text)
    except FailoverError as error:
        raise UsageError(str(error)) from None


def ipv4(text: str) -> str:
    """An IPv4 address."""
    found = address(text)
    if ":" in found:
        raise UsageError(f"{text!r} is not an IPv4 address")
    return found


def overlay(text: str) -> str:
    """An overlay address as the CIDR block of its route; a single address becomes a /32 or /128."""
    try:
        return normal_network(text)
    except FailoverError as error:
        raise UsageError(str(error)) from None


def single(text: str) -> str:
    """An address, also written as a CIDR block of exactly one address."""
    host, _, length = overlay(text).partition("/")
    if length != ("128" if ":" in host else "32"):
        raise UsageError(f"{text} is a whole network; name its addresses")
    return host


def assignable(text: str) -> str:
    """What EC2 assigns to an ENI: one address of the subnet, or a prefix (/28 of IPv4, /80 of IPv6)."""
    network = overlay(text)
    host, _, length = network.partition("/")
    if length == ("128" if ":" in host else "32"):
        return host
    if length != ("80" if ":" in host else "28"):
        raise UsageError(f"{text} is neither one address nor a prefix that EC2 delegates (/28, or /80 of IPv6)")
    return network


def is_plain_ipv4(key: str) -> bool:
    """Whether an assigned key is one IPv4 address: neither an IPv6 address nor a prefix."""
    return ":" not in key and "/" not in key


def device(text: str) -> str:
    """The name of a network interface of this node."""
    if not is_device_name(text):
        raise UsageError(f"{text!r} is not the name of a network interface")
    return text


def server(text: str) -> str:
    """A DNS server, `ADDRESS[#PORT]`."""
    host, mark, port = text.partition("#")
    good = address(host)
    if mark and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"{text!r} is not ADDRESS[#PORT]")
    return f"{good}#{port}" if port else good


def owner(text: str) -> str:
    """What can own a route or an ENI: an instance, an interface, or NO_OWNER."""
    if text != NO_OWNER and not is_a("instance", text) and not is_a("interface", text):
        raise UsageError(f"{text!r} is neither an instance (i-…) nor an interface (eni-…) nor {NO_OWNER}")
    return text
