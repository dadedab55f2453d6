"""Tool chains that are not Python: are they here, run them, and where their products are kept.

Nothing that a tool chain downloads or builds is written into the clone.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "KAFSCALE_TEST_CACHE"
# A first build downloads some sixty megabytes.
BUILD_WAIT_S: Final = 600.0
# The end of a compiler's output is where the error stands.
OUTPUT_TAIL_CHARACTERS: Final = 4_000


class ToolchainError(Exception):
    """A tool is missing or a build failed: install what the message names, or read the tool's output in it."""


def cache_directory(name: str) -> Path:
    """Return (and create) the directory `name` below $KAFSCALE_TEST_CACHE or ~/.cache/kafscale-test."""
    configured = os.environ.get(CACHE_VARIABLE)
    root = Path(configured) if configured else Path.home() / ".cache" / "kafscale-test"
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def missing_commands(commands: Iterable[str]) -> list[str]:
    """Return those of `commands` that are not on the PATH."""
    return [command for command in commands if shutil.which(command) is None]


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a short digest over the names and contents of files: a build's name in the cache."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def run_tool(command: Sequence[str], *, cwd: Path | None = None) -> str:
    """Run a build tool and return its stdout; raises ToolchainError when it is missing, fails or takes too long."""
    if missing_commands(command[:1]):
        raise ToolchainError(f"{command[0]} is not installed: it is needed to run {' '.join(command)}")
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_WAIT_S,
        )
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"{' '.join(command)} took more than {BUILD_WAIT_S:g} s") from None
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-OUTPUT_TAIL_CHARACTERS:]
        raise ToolchainError(f"{' '.join(command)} failed with exit code {done.returncode}:\n{output}")
    return done.stdout
