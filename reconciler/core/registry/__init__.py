"""What the registry may decide: selection, tags, policy."""
