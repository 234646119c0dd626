"""What the state of the server is, and what of it needs attention."""
