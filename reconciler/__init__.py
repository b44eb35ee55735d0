"""Reconciles a model registry against the systemd units of one host."""
