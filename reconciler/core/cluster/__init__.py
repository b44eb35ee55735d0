"""What runs in a Kubernetes namespace, and what to do about it: decisions only, as everywhere in the core."""
