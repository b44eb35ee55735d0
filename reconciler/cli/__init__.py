"""The command `reconciler`."""
