"""What becomes of leave to ask that was long on its way from the desk."""

import asyncio
from dataclasses import asdict
from typing import Any

from cluster.desk import Grant, Lane, Manners
from cluster.politeness import RemotePoliteness, Visit

MANNERS = Manners("http://sky.example", requests_per_second=100.0, connections=1)
PLAIN, PROBE = (Grant(Lane.CUTOUTS, 0.0, 1, 0.01, 1, probe=probe) for probe in (False, True))


class Slow:
    """A desk at the end of a line that takes a second, which gives these grants one after the other."""

    def __init__(self, *grants: Grant) -> None:
        self.left = list(grants)

    async def __call__(self, handler: str, **arguments: Any) -> Any:
        if handler != "skymill_admit":
            return 1
        return {"grant": asdict(self.left.pop(0)), "held_s": -1.0}


def test_a_late_grant_is_asked_for_again_but_a_late_probe_is_used_as_no_other_is_given():
    desk = Slow(PLAIN, PROBE)
    assert asyncio.run(RemotePoliteness(MANNERS, desk, "worker").admit(Lane.CUTOUTS, 1)).probe
    assert not desk.left


def test_a_probe_that_waited_too_long_for_its_turn_is_used(monkeypatch):
    monkeypatch.setattr("cluster.desk.LATE_S", -1.0)

    async def first() -> Grant:
        async with Visit(RemotePoliteness(MANNERS, Slow(PLAIN, PLAIN, PROBE), "worker"), wanted=1) as visit:
            return await visit.ticket(Lane.CUTOUTS)

    assert asyncio.run(first()).probe
