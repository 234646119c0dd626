"""Serving: routes, keys, policy, storage and the command line."""
