"""What the scheduler keeps of what tasks tell."""

import asyncio
from types import SimpleNamespace
from typing import Any

from cluster.tells import MOST, TellsPlugin


def a_scheduler(*clients: str) -> tuple[Any, TellsPlugin]:
    scheduler = SimpleNamespace(clients=set(clients), handlers={}, stream_handlers={})
    plugin = TellsPlugin()
    asyncio.run(plugin.start(scheduler))
    return scheduler, plugin


def test_events_are_given_once_in_order_and_to_their_driver_only():
    scheduler, _ = a_scheduler("one", "two")
    tell, heard = scheduler.stream_handlers["skymill-tell"], scheduler.handlers["skymill_heard"]
    for text in "abc":
        tell(driver="one", text=text, worker="tcp://w")
    assert heard(driver="two") == []
    assert heard(driver="one") == ["a", "b", "c"]
    assert heard(driver="one") == []


def test_what_is_kept_is_bounded_and_nothing_is_kept_for_a_driver_that_left():
    scheduler, plugin = a_scheduler("one")
    tell, heard = scheduler.stream_handlers["skymill-tell"], scheduler.handlers["skymill_heard"]
    for number in range(MOST + 5):
        tell(driver="one", text=str(number))
    assert heard(driver="one") == [str(number) for number in range(5, MOST + 5)]
    tell(driver="one", text="kept")
    plugin.remove_client(scheduler, "one")
    scheduler.clients.clear()
    tell(driver="one", text="late")
    assert heard(driver="one") == []
