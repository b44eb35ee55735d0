"""The bridge to NATS against a real broker, a real store and a real model server."""
