"""How well signals are told from noise in each sample that is held out whole."""

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from model.detection import roc
from pipeline.report import plots_detection
from pipeline.report.against import by_columns
from pipeline.report.facts import ReportFacts
from pipeline.report.gathering import Gathered
from pipeline.report.markup import Raw, count, decimal, figure, grid, text
from pipeline.report.predictions import Cloud

_COLUMNS = 100
"""More columns than a run file names: the figures of each sample are numbered on from a multiple of it."""


def by_holdout(facts: ReportFacts, found: Gathered) -> Raw:
    """Write ROC curve and true alarms of each held-out sample with signals; all test noise sets the thresholds."""
    written: list[str] = []
    cloud = found.cloud
    for place, sample in enumerate(facts.samples):
        own = (cloud.sample == place) & (cloud.z_spec == 1)
        if not facts.run_file.samples[sample.name].holdout or not own.any():
            continue
        part = _only(found, own | (cloud.z_spec == 0))
        noise, signals = part.cloud.z_phot[part.cloud.z_spec == 0], cloud.z_phot[own]
        if not len(noise):
            continue
        curve = roc(noise, signals)
        told = (
            f"ROC curve of {sample.name}, area {decimal(curve.area)}: N = {count(len(signals))} with a signal, "
            f"{count(len(noise))} test samples without. Band: 1 σ, binomial."
        )
        drawn = figure(plots_detection.roc(curve, name=f"roc-{place}"), told)
        rows = by_columns(facts, part, first=_COLUMNS * (place + 1))
        written += [f"<h2>{text(sample.name)}</h2>", grid([drawn]), rows]
    return Raw("".join(written))


def _only(found: Gathered, kept: NDArray[np.bool_]) -> Gathered:
    """Return what was gathered of the test galaxies that are kept."""
    cloud = found.cloud
    columns = {one.name: getattr(cloud, one.name)[kept] for one in fields(Cloud) if one.name != "total"}
    against = {name: None if values is None else values[kept] for name, values in found.against.items()}
    return replace(found, cloud=Cloud(total=int(kept.sum()), **columns), against=against)
