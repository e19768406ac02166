"""How fast the default sky's galaxies spin: λ_R, which the images show in part, for the galaxies that were observed.

Real values come from integral-field surveys as MaNGA; here they are made up, from what the galaxy looks like:

    V/σ of the disc edge-on   v = 1.6 (1 - B)
    as it is inclined          u = v sin i,   cos² i = (q² - q0²) / (1 - q0²)
    λ_R                        1.1 u / √(1 + (1.1 u)²) + 0.04 n

with the bulge's share of the light B, the disc's axis ratio q, its thickness q0 = 0.2, and a normal deviate n; cut to
[0, 1]. The step from V/σ to λ_R is that of Emsellem et al. (2007, MNRAS 379, 401, appendix B), the inclination that of
an oblate disc (Hubble 1926); 1.6 and 0.04 are decided here, so that edge-on discs reach 0.87 and the label is not
noise-free. A network sees B as concentration and colour and q as flattening, and can not see n.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.morphology import Shapes

Floats = NDArray[np.float64]
OBSERVED_SHARE = 0.3
"""Share of the galaxies with a spectrum that have kinematics; decided here."""
_DISC_V_SIGMA, _KAPPA, _THICKNESS, _SCATTER = 1.6, 1.1, 0.2, 0.04
_SEED = 21


def spin_parameter(bulge_share: Floats, disc_ratio: Floats) -> Floats:
    """Return λ_R ``(n,)`` without scatter, of bulge shares and axis ratios ``(n,)``; the formula is the module's.

    Examples
    --------
    >>> spin_parameter(np.array([0.0, 0.0, 1.0]), np.array([0.2, 1.0, 0.2])).round(2).tolist()
    [0.87, 0.0, 0.0]
    """
    cosine2 = np.clip((disc_ratio**2 - _THICKNESS**2) / (1 - _THICKNESS**2), 0, 1)
    observed = _KAPPA * _DISC_V_SIGMA * (1 - bulge_share) * np.sqrt(1 - cosine2)
    return np.asarray(observed / np.sqrt(1 + observed**2))


def half_light_arcsec(shapes: Shapes) -> Floats:
    """Return half-light radii along the major axis ``(n,)`` [arcsec], before any seeing.

    That of a bulge and a disc together is taken as the mean of theirs, weighted by light.
    """
    share = shapes.bulge_share
    return np.asarray(share * shapes.bulge_arcsec + (1 - share) * shapes.disk_arcsec)


def kinematics_table(
    shapes: Shapes,
    objid: NDArray[np.int64],
    spectra: tuple[NDArray[np.int64], NDArray[np.uint64]],
    *,
    seed: int,
) -> pa.Table:
    """Return the table ``Kinematics``: ``objID``, ``specObjID``, ``lambda_r``, ``reff_arcsec``.

    Parameters
    ----------
    shapes : Shapes
        What the objects look like.
    objid : numpy.ndarray of int64, ``(n,)``
        Their ids.
    spectra : tuple of numpy.ndarray
        ``bestObjID`` and ``specObjID`` of all spectra: of these galaxies three in ten were observed. Of an object with
        several spectra, the first is named.
    seed : int
        Seed of the choice and of the scatter.
    """
    rng = np.random.default_rng((seed, _SEED))
    chosen, scatter = rng.random(len(objid)) < OBSERVED_SHARE, rng.standard_normal(len(objid))
    spin = np.clip(spin_parameter(shapes.bulge_share, shapes.disk_ratio) + _SCATTER * scatter, 0, 1)
    best, first = np.unique(spectra[0], return_index=True)
    place = np.minimum(np.searchsorted(best, objid), len(best) - 1)
    has_spectrum = best[place] == objid
    rows = np.flatnonzero(chosen & has_spectrum & (shapes.disk_arcsec > 0))
    return pa.table(
        {
            "objID": objid[rows],
            "specObjID": spectra[1][first[place[rows]]],
            "lambda_r": spin[rows].astype(np.float32),
            "reff_arcsec": half_light_arcsec(shapes)[rows].astype(np.float32),
        }
    )
