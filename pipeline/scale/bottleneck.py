"""What held a measurement back most, told by rule, in a sentence."""

from dataclasses import dataclass

from pipeline.scale.measuring import Measurement
from schemas.config import Politeness

EXPLAINS = 0.8
"""A limit that accounts for this share of the time is what bounds it."""
TELLING = 0.15
"""A smaller share of the slots' time is not worth a word."""
UNITS_A_SLOT = 3
"""With fewer units for each slot, some slots end long before the others."""


@dataclass(frozen=True)
class Asked:
    """What a fetch asked of the survey server: requests, and seconds that connections waited for answers."""

    requests: int = 0
    network_s: float = 0.0


def bottleneck(found: Measurement, politeness: Politeness, asked: Asked | None = None) -> str:
    """Return what held a measurement back most, in words.

    A limit that the run file sets comes first, then the machine, then the work's own shape, then the largest share
    of the slots' time.
    """
    if asked is not None and (words := _limits(found, politeness, asked)):
        return words
    if found.stage == "publish":
        return "publish is the driver's alone: more nodes do not change it"
    if found.slots > found.cores > 0 and found.split.share("work") >= TELLING:
        return f"the workers share {found.cores} cores: {found.slots} slots compute on them"
    idle = found.split.share("idle")
    if idle >= TELLING and found.units < UNITS_A_SLOT * found.slots and found.stage != "train":
        return (
            f"imbalance: {found.units} units for {found.slots} slots, which are idle {idle:.0%} of the time"
        )
    shares = {part: found.split.share(part) for part in ("scheduler", "io", "wait", "idle")}
    part, share = max(shares.items(), key=lambda item: item[1])
    if share < TELLING:
        return "the work itself: next to nothing is lost"
    return f"{_WORDS[part]} {share:.0%} of the time"


def _limits(found: Measurement, politeness: Politeness, asked: Asked) -> str:
    rate = politeness.requests_per_second
    by_rate = asked.requests / rate / found.wall_s if found.wall_s > 0 else 0.0
    if by_rate >= EXPLAINS:
        return f"politeness: {rate:g} requests/s for the whole run explain {min(by_rate, 1):.0%} of the time"
    open_connections = asked.network_s / found.wall_s if found.wall_s > 0 else 0.0
    if open_connections >= EXPLAINS * politeness.connections:
        return f"politeness: all {politeness.connections} connections of the whole run wait for the server"
    return ""


_WORDS = {
    "scheduler": "the scheduler: handing out and starting takes",
    "io": "I/O: writing products takes",
    "wait": "the survey server: waiting for its answers takes",
    "idle": "nothing left to do: slots are idle",
}
