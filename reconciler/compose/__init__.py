"""Runs a release as containers under docker compose: what the units of the runtime `compose` start."""
