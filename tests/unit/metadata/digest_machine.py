"""A cluster state that is hashed, copied and started again between its changes: a digest kept too long shows."""

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from kafscale.metadata.entries import AdvanceLogStart, Command, Entry, ExpireProducers, LogStart
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import decode_state, encode_state, state_hash
from tests.unit.metadata.histories import (
    A,
    Append,
    Reader,
    Senders,
    action_of,
    entry,
    first_entry,
    producer_sends,
    realised,
)

MACHINE_SETTINGS = settings(
    max_examples=25, stateful_step_count=25, derandomize=True, database=None, deadline=None, phases=(Phase.generate,)
)


class DigestMachine(RuleBasedStateMachine):
    """I7: the hash is that of the bytes, whatever was hashed before."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ClusterState()
        self.entries: list[Entry] = []
        self.senders = Senders()

    @initialize()
    def begin(self) -> None:
        self._apply(first_entry())

    @rule(sends=st.binary(min_size=6, max_size=6), partition=st.integers(0, 1))
    def produce(self, sends: bytes, partition: int) -> None:
        self._change(Append(1, [(A, partition, producer_sends(sends, producer_id=7))]))

    @rule(back=st.integers(0, 3))
    def delete_records(self, back: int) -> None:
        partition = self.state.partition(A, 0)
        end = 0 if partition is None else partition.high_watermark
        self._change(AdvanceLogStart([LogStart(A, 0, end - back)]))

    @rule(back=st.integers(0, 3))
    def expire(self, back: int) -> None:
        self._change(ExpireProducers(100 * (len(self.entries) - back)))

    @rule(data=st.binary(min_size=32, max_size=32))
    def anything(self, data: bytes) -> None:
        self._change(action_of(Reader(data)))

    @rule()
    def hash(self) -> None:
        """Keeps the digests of all partitions."""
        assert state_hash(self.state) == state_hash(decode_state(encode_state(self.state)))

    @rule()
    def replay(self) -> None:
        fresh = ClusterState()
        for one in self.entries:
            fresh.apply(one)
        assert state_hash(fresh) == state_hash(self.state)

    @rule()
    def start_again(self) -> None:
        self.state = decode_state(encode_state(self.state))

    def teardown(self) -> None:
        self.hash()
        self.replay()

    def _change(self, action: Append | Command) -> None:
        number = len(self.entries)
        self._apply(entry(number, realised(action, self.senders), time_ms=100 * number))

    def _apply(self, one: Entry) -> None:
        self.entries.append(one)
        self.state.apply(one)
