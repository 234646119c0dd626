"""What a dialect is: operations, problems, batches and upstream calls as plain values."""
