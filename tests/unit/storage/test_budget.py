"""The memory budget: first come, first served; nothing lost, nothing below zero."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kafscale.storage.budget import SMALL_BYTES_MAX, MemoryBudget

LIMIT = 100


def test_reservations_are_granted_in_order_of_arrival() -> None:
    budget = MemoryBudget(LIMIT)
    order: list[str] = []
    assert budget.try_reserve(80)
    budget.reserve_later(50, lambda: order.append("large"))
    budget.reserve_later(10, lambda: order.append("small"))
    assert not budget.try_reserve(1), "nobody overtakes those who wait"
    budget.release(20)
    assert order == []
    budget.release(10)
    assert order == ["large"]
    assert budget.reserved == 100
    budget.release(50)
    assert order == ["large", "small"]
    assert budget.reserved == 60


def test_a_frame_larger_than_the_budget_passes_alone() -> None:
    budget = MemoryBudget(LIMIT)
    granted: list[int] = []
    assert budget.try_reserve(1)
    assert not budget.try_reserve(LIMIT + 1)
    budget.reserve_later(LIMIT + 1, lambda: granted.append(1))
    budget.reserve_later(5, lambda: granted.append(2))
    budget.release(1)
    assert granted == [1]
    assert budget.is_exhausted
    budget.release(LIMIT + 1)
    assert granted == [1, 2]
    assert MemoryBudget(LIMIT).try_reserve(LIMIT * 5)


def test_who_gives_up_makes_way() -> None:
    budget = MemoryBudget(LIMIT)
    granted: list[str] = []

    def large() -> None:
        granted.append("large")

    def small() -> None:
        granted.append("small")

    budget.reserve(60)
    budget.reserve_later(90, large)
    budget.reserve_later(40, small)
    budget.abandon(large)
    assert granted == ["small"]
    assert budget.reserved == 100
    budget.abandon(large)
    budget.release(100)
    assert granted == ["small"]
    assert budget.reserved == 0


def test_a_large_frame_without_room_does_not_hold_up_small_ones() -> None:
    """Three connections that announced 100 MiB each and sent nothing kept every honest producer waiting."""
    large = SMALL_BYTES_MAX + 1
    budget = MemoryBudget(large)
    granted: list[str] = []
    assert budget.try_reserve(10)
    budget.reserve_later(large, lambda: granted.append("large"))
    assert budget.try_reserve(100)
    budget.release(100)
    assert granted == []
    budget.release(10)
    assert granted == ["large"]


class Waiter:
    """Somebody who waits, known like a connection by a bound method."""

    def __init__(self) -> None:
        self.grants = 0

    def granted(self) -> None:
        self.grants += 1


def test_a_bound_method_is_recognised_when_it_gives_up() -> None:
    """Each access to a method makes another object: connections that closed kept their place in the queue."""
    budget, waiter = MemoryBudget(LIMIT), Waiter()
    budget.reserve(LIMIT)
    budget.reserve_later(1, waiter.granted)
    budget.abandon(waiter.granted)
    budget.release(LIMIT)
    assert waiter.grants == 0
    assert budget.reserved == 0


class BudgetAgainstModel(RuleBasedStateMachine):
    """Everybody who reserves releases once; who waits is served in order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = MemoryBudget(LIMIT)
        self.held: list[int] = []
        self.waiting: list[tuple[int, Callable[[], None]]] = []

    @rule(size=st.integers(0, 150))
    def reserve(self, size: int) -> None:
        self.budget.reserve(size)
        self.held.append(size)

    @rule(size=st.integers(0, 150))
    def reserve_or_wait(self, size: int) -> None:
        fits = not self.waiting and (sum(self.held) == 0 or sum(self.held) + size <= LIMIT)
        assert self.budget.try_reserve(size) is fits
        if fits:
            self.held.append(size)
            return

        def granted() -> None:
            assert self.waiting.pop(0) == (size, granted)
            self.held.append(size)

        self.waiting.append((size, granted))
        self.budget.reserve_later(size, granted)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        size = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.budget.release(size)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        _, granted = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.budget.abandon(granted)

    @invariant()
    def what_is_reserved_is_what_is_held(self) -> None:
        assert self.budget.reserved == sum(self.held)
        assert self.budget.is_exhausted == (sum(self.held) >= LIMIT)

    @invariant()
    def nobody_waits_without_need(self) -> None:
        if self.waiting:
            assert sum(self.held) > 0
            assert sum(self.held) + self.waiting[0][0] > LIMIT

    def teardown(self) -> None:
        while self.held:
            self.budget.release(self.held.pop())
        assert self.waiting == []
        assert self.budget.reserved == 0


TestBudgetAgainstModel = BudgetAgainstModel.TestCase
TestBudgetAgainstModel.settings = settings(max_examples=25, stateful_step_count=25)
