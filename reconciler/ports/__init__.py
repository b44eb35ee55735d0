"""What the reconciler needs of the world, as protocols that the adapters and the tests' fakes satisfy alike."""
