"""Which ports of this machine are free, and who holds one that is not."""

from __future__ import annotations

import os
import socket

import psutil

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":
            # As the server will do: a port that is only waiting to be released counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def holder(port: int) -> str | None:
    """Who listens on a port, as "python (process 123)"; None where the system does not tell."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
            if listens and connection.pid is not None:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return None


def refusal(port: int) -> str:
    """The sentence for a port that somebody else holds."""
    who = holder(port)
    return (
        f"Port {port} is taken by {who or 'another program'}. Stop it, or choose another port: "
        f"S2FLOW_PORT={port + 1} ./demo.sh"
    )
