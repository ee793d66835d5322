"""Which programs on this node delete our objects, and the settings that prevent it."""
