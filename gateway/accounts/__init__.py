"""Accounts: who asks (`caller`, `callers`, `keys`), what they may use (`plans`, `limits`) and what
they have used (`ledger`)."""
