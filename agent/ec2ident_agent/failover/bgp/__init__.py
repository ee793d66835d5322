"""An overlay address by BGP: this node announces it to a VPC Route Server, which writes the VPC's route tables."""
