"""Move a service to this node: an ENI, an overlay route, a Route 53 name. Importing it costs nothing."""

from __future__ import annotations
