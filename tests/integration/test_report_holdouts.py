"""The report of a detector that was tried on samples held out whole: each by itself, against the noise of all."""

from pathlib import Path

import numpy as np

from pipeline.report.facts import ReportFacts, SampleFacts
from pipeline.report.gathering import Gathered
from pipeline.report.holdouts import by_holdout
from pipeline.report.predictions import Cloud
from schemas.config import RunFile

SQL = "SELECT id, ra, dec FROM t"
NAMES = ("training", "loud", "faint", "silent")


def test_each_holdout_has_its_curve_and_alarms_and_the_noise_of_all_sets_the_thresholds():
    random = np.random.default_rng(1)
    sample = np.repeat(np.arange(4), [200, 100, 100, 400])
    label = np.concatenate([np.tile([0, 1], 100), np.ones(200), np.zeros(400)])
    shift = np.choose(sample, [2.0, 6.0, 0.5, 0.0]) * label
    score = 1 / (1 + np.exp(-random.normal(size=800) - shift))
    cloud = Cloud(800, sample, sample * 0, np.arange(800), np.arange(800), label, score)
    snr = np.where(label == 1, np.choose(sample, [80.0, 100.0, 20.0, 0.0]), 0)
    found = Gathered(cloud, {}, None, "", np.full(800, np.nan), against={"snr": snr, "spin": None})
    samples = {name: {"sql": SQL, "key": "id", "holdout": name != "training"} for name in NAMES}
    data = {"schema": 1, "name": "a", "samples": samples, "training": {"sample": "training"}}
    target = {"column": "signal", "definition": "detection", "against": ["snr", "spin"]}
    run_file = RunFile.model_validate({**data, "target": target})
    told = [SampleFacts(name, 1, 1, 1, cube=Path("none"), parts=()) for name in NAMES]
    page = by_holdout(ReportFacts(run_file, Path("here"), told, metrics={}), found)

    assert page.count("<h2>") == 2 and "<h2>loud</h2>" in page and "<h2>faint</h2>" in page
    assert page.count("N = 100 with a signal, 500 test samples without") == 2
    assert "snr = 100" in page and "snr = 20" in page and "snr = 80" not in page
    assert page.count("No cube holds spin") == 2
    names = [
        name for name in ("roc-1", "roc-2", "against-200", "against-300") if f'id="{name}-figure_1"' in page
    ]
    assert names == ["roc-1", "roc-2", "against-200", "against-300"]
    loud, faint = page.split("<h2>faint</h2>")
    assert "100.00 ± 0" in loud and "100.00 ± 0" not in faint
