"""What dialects share: reading and writing that is the same at several vendors. Pure."""
