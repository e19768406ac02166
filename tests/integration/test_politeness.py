"""One conformance suite for the desk in this process and the desk in the scheduler."""

import asyncio
import secrets
import time
from dataclasses import asdict, replace

import pytest
from distributed import Client, LocalCluster, get_worker

from cluster.desk import Answer, Lane, Manners
from cluster.politeness import LocalPoliteness, Visit, install, reach
from schemas.errors import SourceDown


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dask")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=str(folder)
        ) as cluster,
        Client(cluster) as client,
    ):
        install(client)
        install(client)
        yield client


def manners(shared: bool, **limits) -> Manners:
    settings = {"requests_per_second": 200.0, "connections": 4, **limits}
    return Manners(f"http://{secrets.token_hex(4)}.example", shared=shared, **settings)


@pytest.fixture(params=["local", "shared"])
def shared(request, client):
    return request.param == "shared"


def test_starts_are_evenly_spaced(shared):
    async def starts():
        async with Visit(reach(limits), wanted=1) as visit:
            for _ in range(20):
                await visit.ticket(Lane.CUTOUTS)
                times.append(time.monotonic())

    limits, times = manners(shared, requests_per_second=50.0), []
    asyncio.run(starts())
    assert times[-1] - times[0] >= 18 * 1.1 / 50.0


def test_a_task_returns_its_connections(shared):
    async def visits():
        async with Visit(reach(limits), wanted=9) as first:
            assert 1 <= first.permits <= 4
        async with Visit(reach(limits), wanted=1) as second:
            assert second.permits == 1

    limits = manners(shared)
    asyncio.run(visits())


def test_a_refusal_pauses_the_next_request(shared):
    async def refused():
        async with Visit(reach(limits), wanted=1) as visit:
            ticket = await visit.ticket(Lane.CUTOUTS)
            begun = time.monotonic()
            await visit.bad(ticket, Answer.REFUSED, 0.7)
            await visit.ticket(Lane.CUTOUTS)
            return time.monotonic() - begun

    limits = manners(shared)
    assert asyncio.run(refused()) >= 0.65


def test_a_source_that_stays_down_is_given_up(shared):
    async def unreachable():
        async with Visit(reach(limits), wanted=1) as visit:
            for _ in range(50):
                ticket = await visit.ticket(Lane.CUTOUTS)
                await visit.bad(ticket, Answer.UNREACHABLE)

    limits = manners(shared, give_up_after_s=1.5)
    with pytest.raises(SourceDown, match="has not answered"):
        asyncio.run(unreachable())


def test_a_living_probe_ends_the_pause(shared):
    async def down_then_up():
        async with Visit(reach(limits), wanted=1) as visit:
            ticket = await visit.ticket(Lane.CUTOUTS)
            down = [await visit.bad(ticket, Answer.UNREACHABLE) for _ in range(5)]
            probe = await visit.ticket(Lane.CUTOUTS)
            await visit.alive(probe)
            return down, probe.probe, (await visit.ticket(Lane.CUTOUTS)).probe

    limits = manners(shared)
    assert asyncio.run(down_then_up()) == ([False] * 4 + [True], True, False)


def _start_times(limits: Manners, count: int) -> list[float]:
    async def starts():
        async with Visit(reach(limits), wanted=2) as visit:
            for _ in range(count):
                visit.good(await visit.ticket(Lane.CUTOUTS))
                times.append(time.time())

    times: list[float] = []
    asyncio.run(starts())
    return times


def test_workers_share_one_rate(client):
    limits = manners(True, requests_per_second=40.0)
    futures = [client.submit(_start_times, limits, 40, pure=False) for _ in range(2)]
    times = sorted(time for future in futures for time in future.result())
    most = max(sum(start <= other < start + 1.0 for other in times) for start in times)
    assert most <= 44  # 40, but for one told late
    assert times[-1] - times[0] < 80 / 40 * 2


def test_two_drivers_with_different_manners_share_the_stricter_rate(client):
    strict = manners(True, requests_per_second=20.0)
    lax = replace(strict, requests_per_second=200.0)
    asked = ((strict, 20), (lax, 60))  # so many that the lax one is not done before the strict one comes
    futures = [client.submit(_start_times, limits, count, pure=False) for limits, count in asked]
    strictly, laxly = (future.result() for future in futures)
    # the lax one may have begun before the strict one came
    times = sorted(time for time in [*strictly, *laxly] if time >= strictly[0])
    most = max(sum(start <= other < start + 1.0 for other in times) for start in times)
    assert most <= 24  # 20, but for some told late


def test_connections_of_a_driver_that_left_come_back(client):
    limits = manners(True, connections=1)
    with Client(client.scheduler.address, set_as_default=False) as other:
        ask = {"manners": asdict(limits), "holder": "gone", "worker": other.id, "wanted": 1}
        assert other.sync(other.scheduler.skymill_enter, **ask) == 1
        assert asyncio.run(reach(limits).enter("next", 1)) == 0
    deadline = time.monotonic() + 10
    while asyncio.run(reach(limits).enter("next", 1)) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_connections_of_a_lost_worker_come_back(client):
    limits = manners(True, connections=2)
    held = client.submit(_hold_all, limits, pure=False).result()
    assert held == 1  # a fair share of two workers
    victim = client.submit(_worker_name, limits, pure=False)
    address = victim.result()
    assert asyncio.run(reach(limits).enter("mine", 2)) == 1
    assert asyncio.run(reach(limits).enter("late", 1)) == 0
    client.restart_workers([_holder_of(client, limits)])
    deadline = time.monotonic() + 20
    while asyncio.run(reach(limits).enter("late", 1)) == 0:
        assert time.monotonic() < deadline, address
        time.sleep(0.1)


def _hold_all(limits: Manners) -> int:
    return asyncio.run(reach(limits).enter("lost", 2))


def _worker_name(limits: Manners) -> str:
    return str(get_worker().address)


def _holder_of(client: Client, limits: Manners) -> str:
    def holder(dask_scheduler, source):
        desk = dask_scheduler.plugins["skymill-politeness"].desks[source]
        return desk._holders["lost"][0]

    return client.run_on_scheduler(holder, source=limits.source)


def test_local_desks_are_shared_within_the_process():
    limits = manners(False)
    assert LocalPoliteness(limits).desk is LocalPoliteness(limits).desk
