"""Accounts: callers and their keys, plans and rate limits, and the ledger of credits and use."""
