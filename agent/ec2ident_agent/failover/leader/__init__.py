"""Follow the leader that a database's cluster manager elects: its calls, its leader key, and a lease."""
