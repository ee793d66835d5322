"""What moves with a service: each part looks, decides, plans, runs, undoes, verifies and releases in one shape."""
