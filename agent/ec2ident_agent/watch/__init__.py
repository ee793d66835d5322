"""The loop that waits for kernel events and repairs drift."""
