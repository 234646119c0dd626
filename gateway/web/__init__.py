"""HTTP in: the one room that knows ASGI. From a request's address to the last byte of its reply."""
