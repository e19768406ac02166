import numpy as np

from pipeline.sandbox.kinematics import OBSERVED_SHARE, half_light_arcsec, kinematics_table, spin_parameter
from pipeline.sandbox.morphology import Shapes

COUNT = 4000
RANDOM = np.random.default_rng(5)
NOTHING = np.zeros(COUNT)
SHAPES = Shapes(
    bulge_share=RANDOM.uniform(0, 1, COUNT),
    bulge_arcsec=np.full(COUNT, 1.0),
    disk_arcsec=np.where(np.arange(COUNT) < 100, 0.0, 3.0),
    bulge_ratio=np.ones(COUNT),
    disk_ratio=RANDOM.uniform(0.2, 1, COUNT),
    angle_deg=NOTHING,
    abs_mag_r=NOTHING,
    early=NOTHING,
)
OBJID = np.arange(COUNT, dtype=np.int64) * 7 + 10**18
SPECTRA = (np.r_[OBJID[::2], OBJID[:2:2]], np.arange(COUNT // 2 + 1).astype(np.uint64) + np.uint64(2**63))
TABLE = kinematics_table(SHAPES, OBJID, SPECTRA, seed=1)


def test_flat_discs_spin_fastest_and_bulges_do_not():
    found = spin_parameter(np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.2, 0.9, 0.2, 0.2]))
    assert found[0] > 0.85 and found[0] > found[2] > found[3] == 0 and found[1] < 0.65
    assert (
        spin_parameter(np.array([0.3]), np.array([0.1]))[0]
        == spin_parameter(np.array([0.3]), np.array([0.2]))[0]
    )


def test_three_in_ten_galaxies_with_a_spectrum_have_kinematics():
    rows = (TABLE["objID"].to_numpy() - 10**18) // 7
    assert (rows % 2 == 0).all() and (rows >= 100).all() and len(np.unique(rows)) == len(rows)
    assert abs(len(rows) / (COUNT / 2 - 50) - OBSERVED_SHARE) < 0.04
    assert (TABLE["specObjID"].to_numpy() == np.uint64(2**63) + (rows // 2).astype(np.uint64)).all()


def test_what_is_told_is_the_formula_with_scatter_within_its_range():
    rows = (TABLE["objID"].to_numpy() - 10**18) // 7
    told = TABLE["lambda_r"].to_numpy()
    off = told - spin_parameter(SHAPES.bulge_share, SHAPES.disk_ratio)[rows]
    assert told.min() >= 0 and told.max() <= 1 and 0.03 < off.std() < 0.05
    assert np.allclose(TABLE["reff_arcsec"].to_numpy(), half_light_arcsec(SHAPES)[rows])
    assert TABLE.equals(kinematics_table(SHAPES, OBJID, SPECTRA, seed=1))
    assert not TABLE.equals(kinematics_table(SHAPES, OBJID, SPECTRA, seed=2))
