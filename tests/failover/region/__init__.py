"""A region for failover: nodes in two zones, and routers that forward as the fake API's state says."""
