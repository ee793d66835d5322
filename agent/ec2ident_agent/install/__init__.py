"""What is put on a node, and how it is removed again."""
