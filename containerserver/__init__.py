"""Serves one release that runs in containers: has docker compose bring them up, watches them, and passes requests on.

It is to systemd what `modelserver` is, and is made of the same parts: READY, standby, drain, counters. The containers
are the only other thing that it starts, and they end with it.
"""
