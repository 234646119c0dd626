"""HTTP out: requests to upstreams."""
