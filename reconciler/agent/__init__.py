"""The registry agent: reads the registry, and tells it what this host serves."""
