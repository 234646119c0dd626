"""Descriptions of dialects in OpenAPI 3.1, made of the tables and functions that serve them. Pure.

What clients may send is in `Endpoint.description`. What they get is found by running the endpoint's
own reader and writers over example requests and outcomes, so that no reply is described twice.
"""
