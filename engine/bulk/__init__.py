"""Verification of many addresses: grouped by mail host, over few connections."""
