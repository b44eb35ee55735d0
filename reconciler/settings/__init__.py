"""The settings: what they may be, and how they are read."""
