"""What people ask of the reconciler, and what that changes."""
