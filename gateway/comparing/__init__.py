"""Asks several sources about the same addresses, and reports where they differ."""
