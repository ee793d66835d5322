"""Who resolves the name of a service: the private zone, forwarders for resolvers outside the VPC, and one question."""
