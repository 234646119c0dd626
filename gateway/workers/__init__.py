"""Several processes that serve one port: `veriplex serve --workers N`.

The supervisor starts the processes, restarts one that dies, and replaces them one by one; it serves
no request itself. Each worker is the same command again, with a socket of the shared port and a
channel to the supervisor. If the supervisor dies, its workers stop.
"""
