"""Signals that no server has: computed by workers that die, learnt from with noise, predicted, published and shown."""

import sys
from pathlib import Path

import numpy as np
import zarr

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun, kill_worker

COLUMNS = """e.id, e.ra, e.dec, e.signal, e.mu_solar, e.spin, e.p0, e.iota_rad, e.theta_s_rad, e.phi_s_rad,
e.theta_k_rad, e.phi_k_rad, e.phase_rad, e.gamma_rad, e.alpha_rad, e.z, e.cutoff, e.snr, e.snr AS loudness"""
RUN_FILE = '''
schema = 1
name = "mill"
output = "{folder}/runs"
[samples.training]
sql = """
SELECT {columns}, CASE WHEN e.id = 1 THEN 7 ELSE e.waveform END AS waveform,
  CASE WHEN e.id = 3 THEN NULL ELSE e.mass_solar END AS mass_solar, CASE WHEN e.id = 4 THEN 0.97 ELSE e.e0 END AS e0
FROM dbo.fEmri(0, 16) AS e
"""
key = "id"
[samples.group4]
sql = """SELECT {columns}, e.waveform, e.mass_solar, e.e0 FROM dbo.fEmri(4, 1) AS e"""
key = "id"
holdout = true
[samples.noise]
sql = """SELECT {columns}, e.waveform, e.mass_solar, e.e0 FROM dbo.fEmri(8, 5) AS e"""
key = "id"
holdout = true
[images]
source = "emri"
pixels = 16384
[cube]
rows_per_chunk = 1
rows_per_block = 4
[model]
preset = "emri-1d"
[model.overrides.input]
pixels = 16384
[target]
column = "signal"
definition = "detection"
against = ["snr"]
[training]
sample = "training"
epochs = 1
batch = 4
[cluster]
workers = 2
[database]
directory = "{folder}/postgres"
[catalogue]
name = "mill"
'''


def test_signals_are_computed_by_workers_that_die_and_what_cannot_be_is_a_row_with_words(tmp_path: Path):
    run = MillRun(tmp_path)
    run.run_file.write_text(RUN_FILE.format(folder=tmp_path, columns=COLUMNS))
    try:
        refused = run.command("run", "target.column=loudness")
        assert refused.returncode and "labels" in refused.stderr and "not 0 or 1" in refused.stderr
        assert run.attempts().get(("fetch", "done"), 0) == 0

        out = run.start_and_kill("fetch", kill_worker, done=1)
        assert "published  47 as catalogue.mill" in out, out
        assert "area under ROC" in out
        cube = zarr.open_group(tmp_path / "runs" / "mill" / "cube" / "training.zarr", mode="r")
        status, snr, image = (np.asarray(cube[name][:]) for name in ("status", "feature_snr", "image"))
        assert np.flatnonzero(status == 17).tolist() == [1, 3, 4] and set(status.tolist()) == {1, 17}
        good = status == 1
        np.testing.assert_allclose(np.sqrt((image[good] ** 2.0).sum((1, 2))), snr[good], rtol=1e-4)
        words = [detail for (detail,) in run.query("SELECT detail FROM skymill.object_failure ORDER BY row")]
        assert "waveform = '7 (0 is AK, 1 is AAK)'" in words[0]
        assert "mass_solar not finite" in words[1] and "e0 = 0.97" in words[2]
        page = (tmp_path / "runs" / "mill" / "report.html").read_text()
        assert "Spectrograms of the signals without noise" in page and "<h2>group4</h2>" in page

        again = run.command("run")
        assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stdout + again.stderr
    finally:
        run.stop_database()
