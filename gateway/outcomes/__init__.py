"""What became of the addresses: bounces and deliveries, and the statistics of them."""
