"""Partitions and service endpoints of every region."""
