"""Work that is done once for all who want it."""

from __future__ import annotations

import asyncio

import pytest

from barque.images.flights import Flights, Listener, Status, ignore


def test_all_get_the_result_of_one_run_and_hear_of_it() -> None:
    async def test() -> None:
        flights: Flights[int] = Flights()
        runs = 0
        go = asyncio.Event()

        async def work(tell: Listener) -> int:
            nonlocal runs
            runs += 1
            tell(Status("begun"))
            await go.wait()
            tell(Status("done"))
            return runs

        heard: list[str] = []

        async def want(listener: Listener) -> int:
            async with flights.join("key", work, listener) as result:
                return result

        first = asyncio.ensure_future(want(lambda status: heard.append(f"1 {status.text}")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = asyncio.ensure_future(want(lambda status: heard.append(f"2 {status.text}")))
        await asyncio.sleep(0)
        go.set()
        assert await first == await second == 1
        assert heard == ["1 begun", "2 begun", "1 done", "2 done"]
        assert await want(ignore) == 2, "it was kept though nobody held it"

    asyncio.run(test())


def test_the_last_who_leaves_ends_the_work() -> None:
    async def test() -> None:
        flights: Flights[None] = Flights()
        ended: list[str] = []

        async def work(_tell: Listener) -> None:
            try:
                await asyncio.sleep(30)
            finally:
                await asyncio.sleep(0.01)
                ended.append("ended")

        async def want() -> None:
            async with flights.join("key", work, ignore):
                return

        first, second = (asyncio.ensure_future(want()) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])
        assert ended == []
        second.cancel()
        await asyncio.wait([second])
        assert ended == ["ended"], "it was not waited for"

    asyncio.run(test())


def test_somebody_else_s_failure_is_not_mine() -> None:
    async def test() -> None:
        flights: Flights[str] = Flights()

        async def fails(_tell: Listener) -> str:
            await asyncio.sleep(0.01)
            raise ValueError("mine")

        async def works(_tell: Listener) -> str:
            return "works"

        async def want(work: object) -> str:
            async with flights.join("key", work, ignore) as result:  # type: ignore[arg-type]
                return result

        first = asyncio.ensure_future(want(fails))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(want(works))
        with pytest.raises(ValueError, match="mine"):
            await first
        assert await second == "works"

    asyncio.run(test())


def test_a_result_is_kept_as_long_as_somebody_holds_it() -> None:
    async def test() -> None:
        flights: Flights[int] = Flights()
        runs = 0

        async def work(_tell: Listener) -> int:
            nonlocal runs
            runs += 1
            return runs

        async with (
            flights.join("key", work, ignore) as first,
            flights.join("key", work, ignore) as second,
        ):
            assert first == second == 1
        async with flights.join("key", work, ignore) as third:
            assert third == 2

    asyncio.run(test())
