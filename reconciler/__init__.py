"""Reconciles a model registry against the systemd units of one host."""

__version__ = "0.1.0"
"""The version of pyproject.toml, which an installed host does not have."""
