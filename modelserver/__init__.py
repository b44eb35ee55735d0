"""The server of one release: loads an MLflow model, proves that it answers, then serves it over inherited sockets.

It runs inside the *model's* environment, so it imports nothing but its own few requirements, MLflow and the standard
library, and stays within what Python 3.10 knows.
"""
