"""Metrics, the access log, and how log lines are written."""
