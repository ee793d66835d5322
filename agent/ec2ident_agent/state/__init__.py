"""What the agent remembers between runs: the journal of owned objects, suppressed owners, small strict files."""
