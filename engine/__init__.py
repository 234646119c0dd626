"""The vocabulary of email verification, and a probe that answers in it."""
