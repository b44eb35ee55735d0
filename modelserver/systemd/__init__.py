"""What the server tells systemd and is told by it."""
