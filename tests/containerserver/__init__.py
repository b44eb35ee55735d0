"""The server of releases that run in containers, without an engine; tests/system/test_compose.py has a real one."""
