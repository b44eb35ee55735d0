"""The command `reconciler status`: all deployments in a table, one on a page, for a monitor, or live."""
