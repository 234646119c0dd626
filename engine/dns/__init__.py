"""The resolver, the mail hosts of a domain, SPF and DMARC records, and targets not to dial."""
