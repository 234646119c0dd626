"""Batches: durable jobs of many addresses, from submission to the last webhook.

`jobs` runs clients' operations, `runner` verifies chunks, `webhooks` notifies of completed batches,
`sweeper` deletes expired ones. They share nothing but the database (`records`, `queue`, `outbox`),
which the workers use through the protocols of `ports`.
"""
