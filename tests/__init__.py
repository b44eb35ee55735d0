"""The project's tests; `tests.host` boots real systemd hosts for them."""
