"""The doctor: whether this machine, its name and its settings let verifications succeed.

`examine` asks the world, `judge` says what the facts mean and what to do. Pages that explain
what mail servers expect of a client: RFC 5321 section 4.1.4, RFC 7208, RFC 8601, M3AAWG's
sending practices.
"""
