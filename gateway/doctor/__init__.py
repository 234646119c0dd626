"""The doctor: checks whether this machine, its names and its settings let verifications succeed.

`examine` gathers the facts; `judge` decides what they mean and what to do. Mail servers' demands
on a client are in RFC 5321 section 4.1.4, RFC 7208, RFC 8601 and M3AAWG's sending practices.
"""
