"""The model: loading it, asking it, and whose fault a failure is."""
