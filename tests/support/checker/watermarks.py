"""Checks of the bounds that replies carry: high watermark, last stable offset and log start."""

from collections.abc import Callable, Iterator

from tests.support.checker.report import Check, Finding
from tests.support.checker.view import View, answered_polls
from tests.support.history import FactEvent, Polled, TopicPartition

NOT_TOLD = -1
"""Instead of a bound that the reply does not carry."""

Place = tuple[str, TopicPartition]
"""A broker run and a partition: within one run a bound never goes back, whoever asks."""


def never_back(bound: Callable[[Polled], int]) -> Check:
    """Return the check that `bound` of a later reply is not below that of one which came before it."""

    def run(view: View) -> Iterator[Finding]:
        largest: dict[Place, int] = {}
        before: dict[int, int] = {}
        for tick, poll in enumerate(view.moments(view.polls)):
            if poll is None or isinstance(poll, FactEvent) or poll.reply is None:
                continue
            place = (poll.reply.node, poll.call.at)
            if tick == poll.invoked:
                before[poll.number] = largest.get(place, NOT_TOLD)
                continue
            value, floor = bound(poll.reply), before.pop(poll.number)
            if NOT_TOLD < value < floor:
                yield f"{poll.call.at} on {poll.reply.node}", f"{value} after {floor} in {poll}"
            largest[place] = max(value, largest.get(place, NOT_TOLD))

    return run


def bounds_agree(view: View) -> Iterator[Finding]:
    """In one reply: log start <= last stable offset <= high watermark, and every record lies between."""
    for poll, reply in answered_polls(view):
        low, stable, high = reply.log_start, reply.last_stable_offset, reply.high_watermark
        if min(low, stable, high) >= 0 and not low <= stable <= high:
            yield str(poll.call.at), f"log start {low}, last stable {stable}, high watermark {high} in {poll}"
        if reply.offsets and (reply.offsets[0] < low or 0 <= high <= reply.offsets[-1]):
            yield str(poll.call.at), f"records outside log start {low} and high watermark {high} in {poll}"


WATERMARK_CHECKS: dict[str, Check] = {
    "high watermark never back": never_back(lambda reply: reply.high_watermark),
    "last stable offset never back": never_back(lambda reply: reply.last_stable_offset),
    "log start never back": never_back(lambda reply: reply.log_start),
    "bounds agree": bounds_agree,
}
