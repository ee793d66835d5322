"""Where the region's parts are: fixed, as the fake's laboratory has them."""

from __future__ import annotations

API_HOST, API_PORT = "10.99.0.254", 5001
#: The VPC's resolver, and the metadata service.
RESOLVER, METADATA = "10.0.0.2", "169.254.169.254"
#: What moves: an overlay address by its route, an ENI by its address, a name, a secondary private address.
OVERLAY, ENI, NAME, PRIVATE = "192.168.10.5", "10.0.1.5", "db.awslab.mycompany.corp", "10.0.0.50"
