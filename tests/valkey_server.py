"""A Valkey or Redis server of our own for tests, on a free port of the loopback."""

from __future__ import annotations

import functools
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_TIMEOUT_S = 10


@functools.cache
def program() -> str | None:
    """The server program; None if there is none on this machine."""
    return shutil.which("valkey-server") or shutil.which("redis-server")


class ValkeyServer:
    """An empty server that writes nothing to disk, until `close`."""

    def __init__(self, *options: str) -> None:
        """`options` are further ones of its command line."""
        self._folder = tempfile.TemporaryDirectory(prefix="valkey")
        self._options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        name = program()
        assert name is not None
        self._process = subprocess.Popen(
            [
                name, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", self._folder.name, *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while b"PONG" not in self._try("PING") and b"NOAUTH" not in self._try("PING"):
            assert time.monotonic() < give_up_at, "it does not answer"
            assert self._process.poll() is None, "it ended at once"
            time.sleep(0.01)

    def command(self, *words: str) -> bytes:
        """The raw reply to one command."""
        packed = b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)
        with socket.create_connection(("127.0.0.1", self.port), START_TIMEOUT_S) as connection:
            connection.sendall(b"*%d\r\n%s" % (len(words), packed))
            return connection.recv(65_536)

    def flush(self) -> None:
        """Delete everything."""
        assert self.command("FLUSHALL").startswith(b"+OK")

    def freeze(self) -> None:
        """Let it answer nothing, while its port still takes connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it at once; `start` starts it empty, on the same port."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()

    def _try(self, *words: str) -> bytes:
        try:
            return self.command(*words)
        except OSError:
            return b""
