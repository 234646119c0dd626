"""The dialects: translation between a vendor's HTTP and the vocabulary of `engine.model`."""
