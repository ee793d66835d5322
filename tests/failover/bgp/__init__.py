"""BGP in the region: FRR's daemons, and a route server of the VPC that writes the routes it hears into route tables."""
