"""The aggregator: which source answers, and what happens when one does not."""
