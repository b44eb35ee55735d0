"""The reconciler: one pass, repeated."""
