"""The process that builds one checkpoint: frames on standard input, the checkpoint on standard output.

Input format: see `kafscale.metadata.checkpointer.FRAME`. Started by `ProcessBuilder`, never by a person.
"""

import sys

from kafscale.metadata.checkpointer import FRAME
from kafscale.metadata.checkpoints import advance_checkpoint
from kafscale.metadata.log import LogEntry


def main() -> None:
    """Read everything, build, write."""
    position = int(sys.argv[1])
    data = memoryview(sys.stdin.buffer.read())
    previous: bytes | None = None
    entries: list[LogEntry] = []
    at = 0
    while at < len(data):
        entry_position, length = FRAME.unpack_from(data, at)
        at += FRAME.size
        payload = bytes(data[at : at + length])
        at += length
        if entry_position == 0:
            previous = payload
        else:
            entries.append(LogEntry(entry_position, payload))
    sys.stdout.buffer.write(advance_checkpoint(previous, entries, position))


if __name__ == "__main__":
    main()
