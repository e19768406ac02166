"""What a run of so many objects will take on so many nodes: time by stage, disk, requests."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from model.presets import Preset
from pipeline import rates
from pipeline.donors import donors_of
from pipeline.estimate import bytes_per_row, computing_s, fields_bytes
from pipeline.hoppers import WORKERS_OF
from pipeline.rates import Rate, Seen
from pipeline.site_fit import pool_faults
from pipeline.sources.choice import requests_per_row
from pipeline.training import chosen_preset
from schemas.config import RunFile
from schemas.imaging import EMRI
from schemas.site import Site

PREDICTION_BYTES = 282.0
"""A row of a part with a PDF of 180 bins as float16, in Parquet (docs/decisions/0012: 229 for the PDF alone)."""
DATABASE_BYTES = 1_000.0
"""A published row with a PDF of 180 bins: 856 bytes sent (docs/benchmarks.md, Publish), its header, and two indexes."""
BUNDLE_BYTES: Mapping[str, float] = {"light": 4.0e6, "aperture": 1.2e7}
"""A trained network's files, by preset, as a run of `surveys/recorded.toml` left them."""
BUNDLES_A_NETWORK = 3
"""A training also leaves two checkpoints, each about as large as the bundle: weights, two moments, the best weights."""


@dataclass(frozen=True)
class Step:
    """A stage of the plan: how long it takes [s] (NaN: not known), what bounds it, and where its rate is from."""

    stage: str
    seconds: float
    bound: str
    rate: Rate

    @property
    def is_known(self) -> bool:
        """Whether its time is known."""
        return math.isfinite(self.seconds)


@dataclass(frozen=True)
class Forecast:
    """A run of so many objects on so many nodes of a site.

    ``counts`` are objects by sample, ``nodes`` jobs by pool; ``efficiency`` says, of a stage and a number of nodes,
    what share of N times one node's speed N nodes reach.
    """

    run_file: RunFile
    site: Site
    nodes: Mapping[str, int]
    counts: Mapping[str, int]
    seen: Seen
    efficiency: Callable[[str, int], float] = lambda stage, nodes: 1.0

    @property
    def objects(self) -> int:
        """All objects of the run."""
        return sum(self.counts.values())

    @cached_property
    def rates(self) -> dict[str, Rate]:
        """The rate of each stage: the run's own where it has one, else that of the benchmarks."""
        found = rates.defaults(self.run_file)
        if self.run_file.images.source == EMRI:
            plain, told = computing_s(self.run_file, {}), self.seen.computing_s
            seconds = sum(count * told.get(name, plain) for name, count in self.counts.items())
            found["fetch"] = rates.computing(seconds / self.objects)
        return found | dict(self.seen.rates)

    def rate(self, stage: str) -> Rate:
        """Return the rate of a stage, which may be unknown."""
        return self.rates.get(stage, Rate())

    def threads(self, stage: str) -> int:
        """Return how many threads of all pools work on a stage."""
        return sum(count * self.site.pools[name].threads for name, count in self._workers(stage).items())

    def speed(self, stage: str) -> float:
        """Return what all workers of a stage could do in a second, if nothing else held them up; NaN is unknown."""
        nodes = sum(self._workers(stage).values())
        return self.threads(stage) * self.rate(stage).per_s * self.efficiency(stage, nodes)

    @property
    def queries(self) -> int:
        """Questions to the survey's catalogue: one to count a sample, one a partition."""
        if self.counts == self.seen.counts:
            return self.seen.queries
        samples = self.run_file.samples
        return sum(
            1 + max(1, math.ceil(rows / samples[name].rows_per_partition))
            for name, rows in self.counts.items()
        )

    @property
    def requests(self) -> int:
        """Questions to the survey server in all: one or more an image, and the queries."""
        return self.objects * self.per_row + self.queries

    @property
    def per_row(self) -> int:
        """Requests that one object's images take."""
        return requests_per_row(self.run_file.images)

    @cached_property
    def steps(self) -> list[Step]:
        """The stages that take time, in their order."""
        learnt = [self._pull(), self._fetch(), *self._fix_rows(), self._train(), *self._calibrate()]
        return [*learnt, self._infer(), self._publish()]

    @property
    def seconds(self) -> float:
        """Time of all stages whose time is known [s]; one begins when the one before has ended."""
        return sum(step.seconds for step in self.steps if step.is_known)

    def busy_s(self, pool: str) -> float:
        """Return how long of that the jobs of a pool have something to do [s]."""
        stages = self.site.pools[pool].stages
        return sum(
            step.seconds
            for step in self.steps
            if WORKERS_OF.get(step.stage, step.stage) in stages and step.is_known
        )

    def lives(self, walltime_s: float) -> int:
        """Return how often a job of that walltime has to live for a run to end."""
        return max(1, math.ceil(self.seconds / max(1.0, walltime_s - self.site.warn_s)))

    def block_s(self, stage: str) -> float:
        """Return how long one worker's thread is busy with one block [s]; NaN is unknown."""
        rows = self.run_file.cube.rows_per_block
        if stage != "fetch":
            return rows * (self.passes if stage == "infer" else 1) / self.rate(stage).per_s
        blocks = sum(math.ceil(count / rows) for count in self.counts.values())
        return rows * max(1, min(self.threads("fetch"), blocks)) / min(self._fetch_speeds().values())

    @property
    def passes(self) -> int:
        """How often a row goes through a network at the rate of ``infer``: the run's own receipts hold that already."""
        if "receipts" in self.rate("infer").source:
            return 1
        return self.run_file.training.ensemble * max(1, self.run_file.model.passes)

    @property
    def disk_bytes(self) -> dict[str, float]:
        """Bytes on the shared disk, by what they are; NaN is unknown."""
        row = self.seen.prediction_bytes
        members = self.run_file.training.ensemble
        known = BUNDLE_BYTES.get(self.run_file.model.preset, math.nan)
        bundle = self.seen.bundle_bytes if self.seen.bundle_bytes > 0 else known
        return {
            "cube": float(self.objects * bytes_per_row(self.run_file)),
            "predictions": self.objects * (row if row > 0 else PREDICTION_BYTES),
            "networks": members * BUNDLES_A_NETWORK * bundle,
            **({"fields": float(sum(fields_bytes(self.run_file).values()))} if self.run_file.fields else {}),
        }

    @property
    def database_bytes(self) -> float:
        """Size of the published version in Postgres."""
        return self.objects * DATABASE_BYTES

    @property
    def images_to_learn(self) -> int:
        """Images that the trainings look at: rows of the training part, in every epoch of every network."""
        training, search = self.run_file.training, self.run_file.search
        rows = self.counts[training.sample] * self.run_file.split.train
        tried = search.trials * search.epochs if search else 0
        donors = sum(epochs_of(self.run_file, donor) for donor in donors_of(self.run_file).values())
        return round(rows * (epochs_of(self.run_file) * training.ensemble + tried + donors))

    def faults(self) -> list[str]:
        """Return what cannot be: what a submission would be refused for, and a walltime too short for a block."""
        faults = pool_faults(self.run_file, self.site, self.nodes)
        found = [f"{fault.message} ({fault.remedy})" for fault in faults]
        for name, count in self.nodes.items():
            pool = self.site.pools[name]
            usable_s = pool.walltime_s - self.site.warn_s
            for stage in ("infer",) if self.per_row else ("fetch", "infer"):
                block_s = self.block_s(stage)
                if count and stage in pool.stages and block_s > usable_s:
                    found.append(
                        f"pools.{name}.walltime leaves {span(max(0, usable_s))}, {stage} of one block takes "
                        f"{span(block_s)} (raise it, or lower cube.rows_per_block)"
                    )
        return found

    def _workers(self, stage: str) -> dict[str, int]:
        return {name: count for name, count in self.nodes.items() if stage in self.site.pools[name].stages}

    def _pull(self) -> Step:
        minute, rate = self.run_file.politeness.queries_per_minute, self.rate("pull")
        polite = self.queries / minute * 60
        own = self.objects / self.speed("pull") if rate.is_known else 0.0
        bound = f"{self.queries:,} queries, {minute:g} a minute (politeness.queries_per_minute)"
        return Step("pull", max(polite, own), bound if polite >= own else "the server's answers", rate)

    def _fetch_speeds(self) -> dict[str, float]:
        politeness, latency = self.run_file.politeness, self.seen.latency_s
        own = {f"{self.threads('fetch')} threads of the workers": self.speed("fetch")}
        if not self.per_row:  # no server is asked
            return own
        found = {
            f"{politeness.requests_per_second:g} requests/s for the whole run "
            "(politeness.requests_per_second)": politeness.requests_per_second / self.per_row,
            f"{politeness.connections} connections for the whole run (politeness.connections), "
            f"{latency:.3g} s a request": politeness.connections / latency / self.per_row
            if latency > 0
            else math.nan,
            **own,
        }
        return {words: speed for words, speed in found.items() if speed > 0}

    def _fetch(self) -> Step:
        speeds = self._fetch_speeds()
        bound = min(speeds, key=lambda words: speeds[words])
        return Step("fetch", self.objects / speeds[bound], bound, self.rate("fetch"))

    def _fix_rows(self) -> list[Step]:
        rate = self.rate("rows")
        return [Step("rows", self.objects / rate.per_s, "the driver", rate)] if rate.is_known else []

    def _train(self) -> Step:
        images, threads = self.images_to_learn, self.threads("train")
        bound = f"{images:,} images at most, {threads} thread{'s' if threads > 1 else ''}"
        return Step("train", images / self.speed("train"), bound, self.rate("train"))

    def _calibrate(self) -> list[Step]:
        if self.run_file.recalibration.kind == "none":
            return []
        rows = self.counts[self.run_file.training.sample] * self.run_file.split.calibration
        threads = min(self.site.pools[name].threads for name in self._workers("infer"))
        seconds = rows * self.passes / (threads * self.rate("infer").per_s)
        bound = f"{rows:,.0f} rows of the calibration part, one worker"
        return [Step("calibrate", seconds, bound, self.rate("infer"))]

    def _infer(self) -> Step:
        seconds = self.objects * self.passes / self.speed("infer")
        return Step("infer", seconds, f"{self.threads('infer')} threads of the workers", self.rate("infer"))

    def _publish(self) -> Step:
        return Step("publish", self.objects / self.rate("publish").per_s, "the driver", self.rate("publish"))


def epochs_of(run_file: RunFile, preset: Preset | None = None) -> int:
    """Return how many epochs a training of a run has at most: of its own preset, or of one that this begins with."""
    return run_file.training.epochs or int((preset or chosen_preset(run_file))["training"]["epochs"])


def span(seconds: float) -> str:
    """Return a length of time for a person.

    Examples
    --------
    >>> [span(seconds) for seconds in (40, 600, 5400 * 3, 86400 * 3)]
    ['40 s', '10 min', '4.5 h', '3 days']
    """
    if not math.isfinite(seconds):
        return "not known"
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * length:
            return (
                f"{seconds / length:.2g} {unit}"
                if seconds < 99.5 * length
                else f"{seconds / length:.0f} {unit}"
            )
    return f"{seconds / 86400:,.0f} days" if seconds > 99.5 * 86400 else f"{seconds / 86400:.2g} days"
