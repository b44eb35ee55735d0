"""Carries out what was planned: renders, installs, and asks systemd."""
