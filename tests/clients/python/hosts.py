"""Stands in for an entry in the hosts file: the names in VERIPLEX_HOSTS are VERIPLEX_ADDRESS."""

import os
import socket

_VENDORS = os.environ["VERIPLEX_HOSTS"].split(",")
_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, *args, **kwargs):  # type: ignore[no-untyped-def]
    if host in _VENDORS:
        host = os.environ["VERIPLEX_ADDRESS"]
    return _getaddrinfo(host, *args, **kwargs)


socket.getaddrinfo = getaddrinfo
