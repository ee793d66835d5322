"""FRR on this node, the BGP speaker: its configuration, its shell `vtysh`, and what it answers."""
