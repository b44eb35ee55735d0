"""Text and sizes: the lowest layer of the core."""
