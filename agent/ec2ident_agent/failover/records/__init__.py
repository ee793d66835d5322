"""What an action writes down on this node: what a release puts back, the audit line, the last move."""
