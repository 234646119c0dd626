"""Who holds leases: this process, and how to tell that another is no more.

A killed process cannot give its leases back. On the same machine its end can be seen, so that
its work goes on at once; elsewhere the leases run out by themselves.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable


def lease_holder_name(unique: str, *, host: str | None = None, pid: int | None = None) -> str:
    """The name under which this process holds leases; `unique` tells its lives apart."""
    host = socket.gethostname()[:60] if host is None else host
    return f"{host}:{os.getpid() if pid is None else pid}:{unique}"


def is_holder_dead(
    holder: str, *, own_name: str, is_alive: Callable[[int], bool] | None = None
) -> bool:
    """Whether a holder is certainly gone."""
    host, pid, unique = holder.rsplit(":", 2)
    my_host, my_pid, my_unique = own_name.rsplit(":", 2)
    if host != my_host or not pid.isdigit():
        return False
    if pid == my_pid:
        return unique != my_unique  # an earlier process that had our number
    return not (is_alive or _is_alive)(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True
