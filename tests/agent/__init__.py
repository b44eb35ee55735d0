"""The registry agent as a real process, before a real MLflow server and before one that misbehaves."""
