"""Tests of the data scientist's script, each as its own process against a real MLflow server."""
