"""The worker pool: results, errors, limits, and its end."""

import asyncio
import threading

import pytest

from kafscale.storage.objects.workers import WorkerPool

WAIT_S = 20.0


async def test_results_and_errors_come_back() -> None:
    pool = WorkerPool("test", 2)
    assert await pool.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 7, 0)
    await pool.close()


async def test_calls_run_in_no_more_than_the_threads_allowed() -> None:
    pool = WorkerPool("test", 3)
    gate, names = threading.Event(), set[str]()
    entered = threading.Barrier(3)

    def call(number: int) -> int:
        names.add(threading.current_thread().name + str(threading.get_ident()))
        if number < 3:
            entered.wait(WAIT_S)
        gate.wait(WAIT_S)
        return number

    calls = [asyncio.ensure_future(pool.run(call, number)) for number in range(10)]
    gate.set()
    assert await asyncio.gather(*calls) == list(range(10))
    assert len(names) == 3
    await pool.close()


async def test_close_waits_for_calls_under_way() -> None:
    pool = WorkerPool("test", 1)
    gate, done = threading.Event(), list[int]()

    def call() -> None:
        gate.wait(WAIT_S)
        done.append(1)

    first = asyncio.ensure_future(pool.run(call))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(pool.close())
    gate.set()
    await closing
    assert done == [1]
    await first


async def test_a_cancelled_call_goes_on_and_harms_nobody() -> None:
    pool = WorkerPool("test", 1)
    gate, done = threading.Event(), list[int]()

    def call() -> None:
        gate.wait(WAIT_S)
        done.append(1)

    cancelled = asyncio.ensure_future(pool.run(call))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    gate.set()
    assert await pool.run(len, "four") == 4
    assert done == [1]
    await pool.close()


async def test_an_unused_pool_closes() -> None:
    await WorkerPool("test", 4).close()
