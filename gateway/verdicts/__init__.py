"""Cached verdicts: in memory, in the database, and those being found out."""
