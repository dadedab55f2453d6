"""One server in a process of its own: start it, wait until it answers Kafka requests, stop it.

Responsible for the life of exactly one child process. It knows no broker in particular; `broker.py` and
`apache_kafka.py` say which command to run.

Invariants:
- a process is only ever ended by its own process id, never by a name;
- every wait is bounded by a named limit;
- output goes to a file, so that a child can never block on a full pipe and its last words can be quoted in an error.
"""

import os
import socket
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

LOOPBACK: Final = "127.0.0.1"

# A healthy server answers ApiVersions in milliseconds; a second covers a machine that is busy with other tests.
PROBE_TIMEOUT_S: Final = 1.0
# Between two probes. Short, because every test run waits for it at least once.
PROBE_PAUSE_S: Final = 0.05
# SIGKILL cannot be refused; this only covers the kernel's own cleaning up.
KILL_WAIT_S: Final = 10.0
# Enough for a stack trace, short enough to read in a terminal.
LOG_TAIL_BYTES_MAX: Final = 6_000

_CORRELATION_ID: Final = 0x6B73
# size, api_key 18, api_version 0, correlation id, null client id: a complete ApiVersions v0 request.
_API_VERSIONS_V0: Final = struct.pack(">ihhih", 10, 18, 0, _CORRELATION_ID, -1)
# correlation id, error code, number of api keys.
_API_VERSIONS_REPLY: Final = struct.Struct(">ihi")
_REPLY_BYTES_MAX: Final = 65_536


class ServerError(Exception):
    """A server did not start, died, or would not stop. The message ends with the tail of its log."""


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def answers_api_versions(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a Kafka server at (host, port) answers ApiVersions v0 with at least one API and no error."""
    try:
        with socket.create_connection((host, port), timeout=PROBE_TIMEOUT_S) as connection:
            connection.sendall(_API_VERSIONS_V0)
            (size,) = struct.unpack(">i", _receive_exactly(connection, 4))
            if not _API_VERSIONS_REPLY.size <= size <= _REPLY_BYTES_MAX:
                return False
            reply = _receive_exactly(connection, size)
    except (OSError, EOFError):
        return False
    correlation_id, error_code, api_count = _API_VERSIONS_REPLY.unpack_from(reply)
    return bool(correlation_id == _CORRELATION_ID and error_code == 0 and api_count > 0)


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise EOFError(f"connection closed after {len(received)} of {size} bytes")
        received += chunk
    return bytes(received)


class ServerProcess:
    """A Kafka server run as a child process; also a context manager that starts and terminates it.

    Args:
        name: how error messages call the server.
        command: what to execute.
        port: the loopback port the server will listen on.
        log_path: where its stdout and stderr go; runs of the same server are appended.
        start_wait_s: how long it may take to answer ApiVersions.
        stop_wait_s: how long it may take to end after SIGTERM.
    """

    def __init__(
        self,
        *,
        name: str,
        command: Sequence[str],
        port: int,
        log_path: Path,
        start_wait_s: float,
        stop_wait_s: float,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.port = port
        self.log_path = log_path
        self._start_wait_s = start_wait_s
        self._stop_wait_s = stop_wait_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address clients connect to, as `host:port`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server. Raises ServerError when it was not started."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process exists right now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return once it answers requests; raises ServerError with the log's tail otherwise."""
        if self._process is not None:
            raise ServerError(f"{self.name} was already started as process {self._process.pid}")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.kill()
            raise

    def terminate(self) -> int:
        """Ask the server to end (SIGTERM) and return its exit code.

        Raises ServerError, after killing it, when it is still there when its time is over.
        """
        process = self._running()
        process.terminate()
        try:
            code = process.wait(timeout=self._stop_wait_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._error(f"still ran {self._stop_wait_s:g} s after SIGTERM") from None
        self._process = None
        return code

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would; without effect on one that does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(timeout=KILL_WAIT_S)

    def restart(self) -> None:
        """Terminate the server if it runs and start it again on the same port and the same data."""
        if self.is_running:
            self.terminate()
        self.kill()
        self.start()

    def wait(self) -> int:
        """Block until the server ends by itself and return its exit code."""
        return self._running().wait()

    def log_tail(self) -> str:
        """Return the end of the server's output, at most LOG_TAIL_BYTES_MAX bytes of it."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES_MAX))
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Terminate the server; one that a test has killed or that has died is only cleaned up."""
        if self.is_running:
            self.terminate()
        self.kill()

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        attempts = max(1, int(self._start_wait_s / PROBE_PAUSE_S))
        for _ in range(attempts):
            # Waiting for the child's end is also the pause between two probes.
            try:
                code = process.wait(timeout=PROBE_PAUSE_S)
            except subprocess.TimeoutExpired:
                if answers_api_versions(self.port):
                    return
                continue
            raise self._error(f"ended with exit code {code} before it answered a request")
        raise self._error(f"did not answer ApiVersions at {self.bootstrap} within {self._start_wait_s:g} s")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process

    def _error(self, what: str) -> ServerError:
        return ServerError(
            f"{self.name} {what}\ncommand: {' '.join(self.command)}\nlog {self.log_path}:\n{self.log_tail()}"
        )
