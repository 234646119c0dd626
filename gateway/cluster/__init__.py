"""Many processes, one service: who does the work, who is alive, and what processes share.

`ports` says what the rest of the program needs. `embedded` is one process on its own; `dispatch` is
procrastinate on PostgreSQL, and `shared` is Valkey. Neither of the last two is imported unless the
settings want it.
"""
