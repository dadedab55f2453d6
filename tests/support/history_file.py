"""Histories on disk: one event per line, as a JSON array.

Several processes may record one history, each into a file of its own with a clock that all of them share
(`time.monotonic_ns` of one machine). `load_history` merges such files by time. Where times are equal, invocations and
facts go before ends, so that operations which may have overlapped count as overlapping.
"""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from tests.support.history import Ended, Event, History, Invoked, replay

FLUSH_EVENTS: Final = 256
"""Events held back at most before they reach the file, so that a killed recorder loses few."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class HistoryFile:
    """A sink for `History` that appends to a file. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._pending: list[bytes] = []

    def __call__(self, event: Event) -> None:
        self._pending.append(_encoder.encode(event) + b"\n")
        if len(self._pending) >= FLUSH_EVENTS:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.write(b"".join(self._pending))
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        self._file.close()


def load_history(paths: Sequence[Path]) -> History:
    """Return the history that the files tell together.

    A last line without its newline is what a killed recorder leaves: it is ignored. Raises `msgspec.DecodeError` for
    any other line that is no event, ValueError when the events do not fit together.
    """
    streams = [_keyed(path, number, len(paths)) for number, path in enumerate(paths)]
    return replay(event for _, event in heapq.merge(*streams, key=lambda keyed: keyed[0]))


def _keyed(path: Path, file_number: int, file_count: int) -> Iterator[tuple[tuple[int, bool], Event]]:
    for event in _events(path):
        renumbered = _renumber(event, file_number, file_count)
        yield (event.time_us, isinstance(event, Ended)), renumbered


def _events(path: Path) -> Iterator[Event]:
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield _decoder.decode(line)


def _renumber(event: Event, file_number: int, file_count: int) -> Event:
    if file_count == 1 or not isinstance(event, Invoked | Ended):
        return event
    return msgspec.structs.replace(event, operation=event.operation * file_count + file_number)
