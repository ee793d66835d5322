"""What scripts/manual makes man pages and completion of."""
