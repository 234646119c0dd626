"""Metrics, the access log, and the format of log lines."""
