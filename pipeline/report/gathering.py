"""Read once what several sections show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.report.cubes import magnitudes
from pipeline.report.facts import ReportFacts
from pipeline.report.predictions import Calibration, Cloud, Tally, calibrate, survey

EXAMPLES = 8
"""PDFs that are shown."""


@dataclass(frozen=True)
class Gathered:
    """What was read from the run's large products."""

    cloud: Cloud
    tallies: Mapping[str, Tally]
    calibration: Calibration | None
    magnitude_name: str
    magnitude: NDArray[np.float64]


def read_products(facts: ReportFacts) -> Gathered:
    """Read what is needed of predictions and cubes, in bounded memory."""
    seed = facts.run_file.seed
    cloud, tallies = survey(facts.samples, seed=seed)
    shown = np.random.default_rng(seed).permutation(len(cloud))[:EXAMPLES].tolist()
    calibration = calibrate(cloud, facts.samples, shown=shown, seed=seed) if len(cloud) else None
    name, magnitude = magnitudes(cloud, facts.samples)
    return Gathered(cloud, tallies, calibration, name, magnitude)
