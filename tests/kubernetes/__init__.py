"""A real Kubernetes of one node inside a throwaway host, and the image of the product that runs in it."""
