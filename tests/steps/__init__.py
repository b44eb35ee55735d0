"""The release steps as real processes: a real MLflow server, real uv, real kills and a really full disk."""
