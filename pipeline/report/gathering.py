"""Read once what several sections show."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.definitions import REDSHIFT, kind_of
from pipeline.report.cubes import column_values, magnitudes
from pipeline.report.facts import ReportFacts
from pipeline.report.predictions import Calibration, Cloud, Tally, calibrate, survey
from schemas.flags import Part

EXAMPLES = 8
"""PDFs that are shown."""


@dataclass(frozen=True)
class Gathered:
    """What was read from the run's large products.

    ``others`` are the parts that something was learnt from, of a target that is no redshift; ``against`` the columns
    that quality is shown by, of the test galaxies, None for one that no cube has.
    """

    cloud: Cloud
    tallies: Mapping[str, Tally]
    calibration: Calibration | None
    magnitude_name: str
    magnitude: NDArray[np.float64]
    others: Mapping[Part, Cloud] = field(default_factory=dict)
    against: Mapping[str, NDArray[np.float64] | None] = field(default_factory=dict)


def read_products(facts: ReportFacts) -> Gathered:
    """Read what is needed of predictions and cubes, in bounded memory."""
    seed, target = facts.run_file.seed, facts.run_file.target
    cloud, tallies = survey(facts.samples, seed=seed)
    shown = np.random.default_rng(seed).permutation(len(cloud))[:EXAMPLES].tolist()
    calibration = calibrate(cloud, facts.samples, shown=shown, seed=seed) if len(cloud) else None
    name, magnitude = magnitudes(cloud, facts.samples)
    parts = () if kind_of(target.definition) == REDSHIFT else (Part.TRAIN, Part.VALIDATION, Part.CALIBRATION)
    trained = [sample for sample in facts.samples if sample.name == facts.run_file.training.sample]
    others = {part: survey(trained, seed=seed, part=part)[0] for part in parts}
    return Gathered(
        cloud,
        tallies,
        calibration,
        name,
        magnitude,
        others={part: other for part, other in others.items() if other.total},
        against={column: column_values(cloud, facts.samples, column) for column in target.against},
    )
