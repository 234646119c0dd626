"""Chooses the sources of a question, within budgets."""
