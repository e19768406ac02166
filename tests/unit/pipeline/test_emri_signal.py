import math

import numpy as np
import pytest

from pipeline.sources.emri import aak
from pipeline.sources.emri.source import Source
from pipeline.sources.emri.waveforms import fault, signal
from pipeline.sources.emri.whitening import optimal_snr
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES

ROW = {
    "mass_solar": 1e6,
    "mu_solar": 10.0,
    "spin": 0.5,
    "e0": 0.2,
    "p0": 9.0,
    "iota_rad": 0.7,
    "theta_s_rad": 1.0,
    "phi_s_rad": 2.0,
    "theta_k_rad": 0.5,
    "phi_k_rad": 4.0,
    "phase_rad": 0.3,
    "gamma_rad": 0.6,
    "alpha_rad": 0.9,
    "z": 0.1,
    "cutoff": "schwarzschild",
    "waveform": "AK",
    "snr": 50.0,
    "id": 7,
}


def test_a_row_becomes_two_channels_of_the_asked_loudness():
    found = signal(ROW)
    assert found.shape == (2, EMRI_SAMPLES) and found.dtype == np.float32
    assert optimal_snr(found) == pytest.approx(50.0, rel=1e-5)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(0.069, abs=0.0005)
    assert (np.square(found).sum(1) > 50).all()  # both channels hear it


def test_a_row_without_a_signal_is_silent_whatever_else_it_says():
    found = signal({"snr": 0.0, "mass_solar": math.nan, "waveform": ""})
    assert found.shape == (2, EMRI_SAMPLES) and not found.any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"snr": -1.0}, "snr = -1"),
        ({"snr": math.nan}, "snr = nan"),
        ({"snr": None}, "snr = None"),
        ({"waveform": "NK"}, "'NK', expected one of AK, AAK"),
        ({"mass_solar": math.nan}, "mass_solar not finite"),
        ({"mass_solar": None}, "none of the name mass_solar"),
        ({"mass_solar": "heavy"}, "expected numbers"),
        ({"mass_solar": 10.0}, "mass_solar = 10"),
        ({"mu_solar": 1e4}, "mu_solar = 10000"),
        ({"spin": 1.0}, "spin = 1"),
        ({"e0": 0.95}, "e0 = 0.95, expected 0 to 0.9"),
        ({"e0": -0.1}, "e0 = -0.1"),
        ({"p0": 6.2}, "outside the last stable one"),
        ({"p0": 0.0}, "p0 = 0"),
        ({"waveform": "AAK", "p0": 8.6, "spin": 0.98, "iota_rad": 3.1}, "expected above 9."),
        ({"iota_rad": 4.0}, "iota_rad = 4"),
        ({"z": -0.1}, "z = -0.1"),
        ({"cutoff": "isco"}, "'isco', expected one of schwarzschild, kerr"),
        ({"theta_k_rad": 1.0, "phi_k_rad": 2.0}, "along the line of sight"),
        ({"mass_solar": 1e4, "p0": 8.0}, "second harmonic begins above 16.67 mHz"),
    ],
)
def test_what_cannot_be_a_waveform_is_told_before_and_refused(change, reason):
    row = {**ROW, **change}
    assert reason in fault(row)
    with pytest.raises(ModelError) as refused:
        signal(row)
    assert reason in refused.value.message


def test_a_good_row_has_no_fault():
    assert fault(ROW) is None
    assert fault({**ROW, "waveform": "AAK"}) is None


def test_masses_are_redshifted():
    source = Source.of({**ROW, "z": 1.0})
    assert source.mass_s == pytest.approx(2e6 * 4.92549e-6, rel=1e-6)
    assert source.mu_s == pytest.approx(2e1 * 4.92549e-6, rel=1e-6)


def test_without_the_package_aak_waveforms_name_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(aak.importlib, "import_module", _missing)
    aak.engine.cache_clear()
    with pytest.raises(ModelError) as refused:
        signal({**ROW, "waveform": "AAK"})
    aak.engine.cache_clear()
    assert refused.value.remedy == "pip install fastemriwaveforms==2.0.0"


def _missing(name):
    raise ImportError(f"No module named {name!r}")
