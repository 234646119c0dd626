"""Batches: durable jobs of many addresses, from submission to the last webhook.

`jobs` runs what clients ask, `runner` does the work, `webhooks` tells the end, `sweeper` clears
away; all of them meet in the database alone (`records`, `queue`), behind the protocols of
`ports`.
"""
