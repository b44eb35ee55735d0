"""Answers inference requests that come over NATS: the unit `nats-bridge@NAME.service`."""
