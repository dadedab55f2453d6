"""Checks of writes: what was acknowledged stands in the log once, in order, and nothing else does."""

from collections import Counter
from collections.abc import Iterator

from tests.support.checker.report import Check, Finding
from tests.support.checker.view import View
from tests.support.history import NO_OFFSET, Produced, ProduceOperation, Status, TopicPartition


def one_value_per_offset(view: View) -> Iterator[Finding]:
    """Acknowledgements and reads, of anybody at any time, agree on what stands at a (partition, offset)."""
    known: dict[TopicPartition, dict[int, str]] = {}
    for write, reply in _acknowledged(view):
        values = known.setdefault(write.call.at, {})
        before = values.setdefault(reply.offset, write.call.value)
        if before != write.call.value and reply.offset != NO_OFFSET:
            yield f"{write.call.at}@{reply.offset}", f"acknowledged for {before} and for {write.call.value}"
    for sighting in view.sightings():
        values = known.setdefault(sighting.at, {})
        for offset, value in zip(sighting.offsets, sighting.values, strict=True):
            before = values.setdefault(offset, value)
            if before != value:
                yield f"{sighting.at}@{offset}", f"{sighting.reader} read {value}, elsewhere it is {before}"


def acknowledged_writes_kept(view: View) -> Iterator[Finding]:
    """Every acknowledged write is in the final read, unless the log start has passed it."""
    present = {at: set(read.values) for at, read in view.final_reads.items()}
    for write, reply in _acknowledged(view):
        at = write.call.at
        final = view.final_reads.get(at)
        if final is None:
            yield str(at), f"never read in the end, but {write} was acknowledged"
        elif write.call.value not in present[at] and not NO_OFFSET < reply.offset < final.log_start:
            yield f"{at}@{reply.offset}", f"lost: {write}"


def no_duplicates(view: View) -> Iterator[Finding]:
    """A write of an idempotent producer is at most once in the final read, acknowledged or not."""
    for at, read in view.final_reads.items():
        for value, count in Counter(read.values).items():
            write = view.writes.get(value)
            if count > 1 and write is not None and write.call.idempotent:
                yield str(at), f"{count} times in the log: {write}"


def failed_writes_absent(view: View) -> Iterator[Finding]:
    """Nobody reads a write that was refused for certain."""
    failed = {value for value, write in view.writes.items() if write.status is Status.FAIL}
    for sighting in view.sightings():
        for value in sorted(failed.intersection(sighting.values)):
            yield str(sighting.at), f"{sighting.reader} read a refused write: {view.writes[value]}"


def only_writes_are_read(view: View) -> Iterator[Finding]:
    """What is read was sent to that partition before."""
    for sighting in view.sightings():
        for offset, value in zip(sighting.offsets, sighting.values, strict=True):
            write = view.writes.get(value)
            if write is None or write.call.at != sighting.at or write.invoked > sighting.tick:
                sent = "nobody sent it" if write is None else f"sent was {write}"
                yield f"{sighting.at}@{offset}", f"{sighting.reader} read {value}, but {sent}"


def offsets_dense(view: View) -> Iterator[Finding]:
    """The final read has each offset from log start to high watermark exactly once, in order."""
    for at, read in view.final_reads.items():
        expected = read.log_start
        for offset in read.offsets:
            if offset != expected:
                yield f"{at}@{expected}", f"the final read goes on with offset {offset}"
            expected = offset + 1
        if expected != read.high_watermark:
            yield f"{at}@{expected}", f"the final read ends here, the high watermark is {read.high_watermark}"


def producers_in_order(view: View) -> Iterator[Finding]:
    """The writes of an idempotent producer stand in the final read in the order in which it sent them.

    Only first appearances count: a second one is a duplicate, which is another check's business.
    """
    for at, read in view.final_reads.items():
        last: dict[str, int] = {}
        for value in dict.fromkeys(read.values):
            write = view.writes.get(value)
            if write is None or not write.call.idempotent:
                continue
            sent = write.call
            if sent.sequence < last.get(sent.producer, -1):
                yield str(at), f"send {last[sent.producer]} of {sent.producer} stands before {write}"
            last[sent.producer] = max(sent.sequence, last.get(sent.producer, -1))


def acknowledged_offsets_exist(view: View) -> Iterator[Finding]:
    """No write was acknowledged at an offset that the log does not reach."""
    for write, reply in _acknowledged(view):
        final = view.final_reads.get(write.call.at)
        if final is not None and reply.offset >= final.high_watermark:
            yield f"{write.call.at}@{reply.offset}", f"the log ends at {final.high_watermark}, but {write}"


def _acknowledged(view: View) -> Iterator[tuple[ProduceOperation, Produced]]:
    return ((write, write.reply) for write in view.produces if write.reply is not None)


WRITE_CHECKS: dict[str, Check] = {
    "one value per offset": one_value_per_offset,
    "acknowledged writes kept": acknowledged_writes_kept,
    "acknowledged offsets exist": acknowledged_offsets_exist,
    "no duplicates": no_duplicates,
    "failed writes absent": failed_writes_absent,
    "only writes are read": only_writes_are_read,
    "offsets dense": offsets_dense,
    "producers in order": producers_in_order,
}
