"""What is decided, as values and functions of values: no I/O, no clock, no randomness, no environment."""
