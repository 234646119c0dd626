"""Batches at the upstreams: a vendor job for each chunk."""
