"""Which source is asked next, and what it may cost."""
