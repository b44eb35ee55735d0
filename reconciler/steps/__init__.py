"""The steps that make a release: fetch, build, verify; each a process of its own; the last as another user."""
