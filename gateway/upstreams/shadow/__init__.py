"""Shadow traffic: asks further sources about a share of the addresses, beside the requests."""
