"""HTTP: sockets, connections, bodies, and the ASGI application that answers."""
