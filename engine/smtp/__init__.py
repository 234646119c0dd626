"""Asking mail hosts about a mailbox: dialogue, classification of replies, pacing, reputation."""
