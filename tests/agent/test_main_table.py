"""Which devices are ENIs, as far as the kernel tells."""

from __future__ import annotations

import pytest

from ec2ident_agent.items import Link, Observed, Route, Seen
from ec2ident_agent.main_table import eni_devices


@pytest.mark.parametrize(
    ("kind", "gateway", "configured", "is_eni"),
    [
        ("", "", (), True),
        ("bridge", "", (), False),
        ("bridge", "10.0.1.1", (), True),
        ("bridge", "", ("br0",), True),
        ("wireguard", "10.0.1.1", (), False),
    ],
)
def test_a_router_makes_a_device_of_a_kind_an_eni(
    kind: str, gateway: str, configured: tuple[str, ...], is_eni: bool
) -> None:
    """A default route without a router leads to containers or into a tunnel, and a tunnel may have a router too."""
    links = (Link(1, "lo"), Link(2, "br0", kind=kind))
    observed = Observed(links, (Seen(Route("0.0.0.0/0", "br0", 254, gateway), 3),))

    assert ({"br0"} if is_eni else set()) == eni_devices(observed, configured)
