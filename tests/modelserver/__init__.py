"""Tests of the model server: real processes, inherited sockets, real HTTP, MLflow's own server as the reference."""
