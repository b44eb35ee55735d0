"""Stand-ins for the world, each behind the contract test that the real one passes too."""
