"""The HTTP server, and the only room that uses ASGI and Starlette."""
