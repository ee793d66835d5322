"""The metadata service: its client, the connect race, one HTTP exchange under a deadline, and who answered."""
