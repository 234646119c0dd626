"""Where mail for a domain goes: resolver, MX hosts, SPF and DMARC, forbidden targets."""
