"""Many addresses at once: grouped by mail host, on few connections."""
