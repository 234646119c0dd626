"""Names of the holders of leases, and detection of dead ones.

A killed process cannot release its leases. A process on the same machine can see that it is dead,
and take its work over at once; on other machines the leases expire.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable


def lease_holder_name(unique: str, *, host: str | None = None, pid: int | None = None) -> str:
    """The name of this process as a holder; `unique` differs for each start."""
    host = socket.gethostname()[:60] if host is None else host
    return f"{host}:{os.getpid() if pid is None else pid}:{unique}"


def is_holder_dead(
    holder: str, *, own_name: str, is_alive: Callable[[int], bool] | None = None
) -> bool:
    """Whether a holder is certainly dead."""
    if holder.count(":") < 2:
        return False  # of a worker that others judge (`gateway.cluster.ports.Dispatch.living`)
    host, pid, unique = holder.rsplit(":", 2)
    own_host, own_pid, own_unique = own_name.rsplit(":", 2)
    if host != own_host or not pid.isdigit():
        return False
    if pid == own_pid:
        return unique != own_unique  # an earlier process with our process id
    return not (is_alive or _is_alive)(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return True
