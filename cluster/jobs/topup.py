"""Keeping as many jobs of each pool as were asked for."""

import threading
import time
from collections.abc import Mapping

from cluster.jobs.asking import worker_job
from cluster.jobs.times import say
from cluster.sites.batch import Batch, Standing, State
from cluster.submission import Asked, Order, Submission
from schemas.errors import SkymillError

UNHEARD_S = 60.0
"""A job that was handed in so lately [s] counts as alive, though the scheduler does not list it yet."""
MOST_S = 600.0
"""Longest wait [s] between two top-ups of a pool whose jobs end at once."""


class TopUp:
    """A thread that replaces the workers' jobs that are gone.

    A pool whose new jobs end at once is topped up ever more rarely.

    Parameters
    ----------
    submission, order : Submission, Order
        Whose jobs.
    batch : Batch
        Who is asked.
    every_s : float
        How often [s].
    until_s : float
        On the monotonic clock [s]: nothing is handed in later.
    """

    def __init__(
        self, submission: Submission, order: Order, batch: Batch, *, every_s: float, until_s: float
    ) -> None:
        self._submission = submission
        self._order = order
        self._batch = batch
        self._every_s = every_s
        self._until_s = until_s
        self._wait_s = dict.fromkeys(order.nodes, 0.0)
        self._not_before_s = dict.fromkeys(order.nodes, 0.0)
        for pool in order.nodes:  # what makes scripts can be loaded in the main thread only
            batch.script(worker_job(order, submission, pool, 1))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="top-up", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Hand in nothing more."""
        self._over.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._over.wait(self._every_s) and time.monotonic() < self._until_s:
            try:
                self.look(time.monotonic())
            except (SkymillError, OSError) as error:
                say(f"the workers' jobs could not be looked at: {error}")

    def look(self, now: float) -> None:
        """Hand in what is lacking.

        Raises
        ------
        SiteError
            If the batch scheduler refuses, or does not answer.
        """
        jobs = [job for job in self._submission.jobs if job.pool in self._order.nodes]
        standings = self._batch.standings([job.id for job in jobs])
        lacking = lacks(self._order.nodes, jobs, standings, time.time())
        for pool, count in lacking.items():
            if not count:
                self._wait_s[pool] = 0.0
            elif now >= self._not_before_s[pool] and not self._over.is_set():
                if held := [
                    job.id for job in jobs if job.pool == pool and is_held(standings.get(job.id, ()))
                ]:
                    say(f"the jobs {', '.join(held)} of pool {pool} are held, and are cancelled")
                    self._batch.cancel(held)
                self._hand_in(pool, count)
                self._wait_s[pool] = min(MOST_S, max(self._every_s, 2 * self._wait_s[pool]))
                self._not_before_s[pool] = now + self._wait_s[pool]

    def _hand_in(self, pool: str, count: int) -> None:
        job = worker_job(self._order, self._submission, pool, count)
        script = self._submission.script(f"{pool}.more")
        script.write_text(self._batch.script(job), encoding="utf-8")
        id_ = self._batch.submit(script, job)
        self._submission.add_job(Asked(id_, pool, count, time.time()))
        say(f"{count} jobs of pool {pool} were gone: handed in as {id_}")


def is_held(elements: tuple[Standing, ...]) -> bool:
    """Say whether all of a job that has not ended is held: it would stay so beside the one that replaces it."""
    left = [element.state for element in elements if element.state is not State.ENDED]
    return bool(left) and all(state is State.HELD for state in left)


def lacks(
    nodes: Mapping[str, int], jobs: list[Asked], standings: Mapping[str, tuple[Standing, ...]], now: float
) -> dict[str, int]:
    """Return how many jobs each pool lacks.

    What the scheduler cannot say counts as alive; a job it has forgotten has ended, unless it is quite new.

    Examples
    --------
    >>> running, ended = Standing(State.RUNNING), Standing(State.ENDED)
    >>> lacks({"w": 3}, [Asked("1", "w", 3, 0.0)], {"1": (running, ended, ended)}, 100.0)
    {'w': 2}
    """
    alive = dict.fromkeys(nodes, 0)
    for job in jobs:
        elements = standings.get(job.id, ())
        living = sum(element.state.is_alive or element.state is State.UNKNOWN for element in elements)
        alive[job.pool] += job.count if not elements and now - job.at < UNHEARD_S else living
    return {pool: max(0, count - alive[pool]) for pool, count in nodes.items()}
