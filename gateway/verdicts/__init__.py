"""Cached verdicts, in memory and in the database, and verifications in flight."""
