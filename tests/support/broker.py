"""The broker of this repository as a child process, the way a user starts it: `kafscale broker` and nothing else."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.server_process import ServerProcess, free_port

# Five times what the first minutes of a user allow, because a test machine runs other things too.
START_WAIT_S: Final = 15.0
# A stopping broker keeps answering NOT_LEADER for a second, and flushes before that.
STOP_WAIT_S: Final = 10.0


class BrokerProcess(ServerProcess):
    """One `kafscale broker` with the embedded metadata log and the local object store below `data_dir`.

    Args:
        data_dir: everything the broker keeps; the log file stands beside it, named `<data_dir>.log`.
        port: the loopback port; a free one when None. It stays the same across restarts.
        settings: passed on as `--set key=value`.
    """

    def __init__(self, data_dir: Path, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        listening_port = free_port() if port is None else port
        super().__init__(
            name="kafscale broker",
            command=_command(data_dir, listening_port, settings or {}),
            port=listening_port,
            log_path=data_dir.parent / f"{data_dir.name}.log",
            start_wait_s=START_WAIT_S,
            stop_wait_s=STOP_WAIT_S,
        )
        self.data_dir = data_dir


def _command(data_dir: Path, port: int, settings: Mapping[str, str]) -> list[str]:
    command = [sys.executable, "-m", "kafscale", "broker", "--data-dir", str(data_dir), "--port", str(port)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return command
