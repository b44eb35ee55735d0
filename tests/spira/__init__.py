"""The hospital system SPIRA as it was and is: a client of its API, and its original server."""
