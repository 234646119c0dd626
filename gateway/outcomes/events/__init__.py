"""The events that mail services post: one module a service, which checks and reads them."""
