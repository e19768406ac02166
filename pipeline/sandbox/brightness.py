"""Fluxes of all that the default sky shows, in each band in which it can be seen."""

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.catalogue import BANDS, Objects
from pipeline.sandbox.field import Source
from pipeline.sandbox.infrared import BANDS as INFRARED
from pipeline.sandbox.infrared import infrared_mags, star_w1
from pipeline.sandbox.morphology import Shapes

Floats = NDArray[np.float64]
# Colours of faint sources beyond g and i, decided here: z continues r - i, and W1, W2 are those of a galaxy at z = 0.4.
_U_G = 1.3
_I_Z_OF_R_I, _FAINT_Z_W1, _FAINT_W1_W2 = 0.6, 0.9, -0.3
_STAR_W1_W2 = -0.64


def object_fluxes(objects: Objects, shapes: Shapes, rng: np.random.Generator) -> dict[str, Floats]:
    """Return the flux of every object ``(n,)`` [nanomaggy, AB] by band: u, g, r, i, z, W1, W2.

    The filters of the Legacy Surveys are taken for SDSS's, which they differ from by some hundredths of a magnitude.
    """
    infrared = 10 ** (0.4 * (22.5 - infrared_mags(objects, shapes, rng)))
    fluxes = {band: objects.flux[:, i] for i, band in enumerate(BANDS)}
    return fluxes | {band: infrared[:, i] for i, band in enumerate(INFRARED)}


def source_fluxes(source: Source) -> dict[str, float]:
    """Return the flux of a faint source [nanomaggy, AB] by band: u, g, r, i, z, W1, W2."""
    g, r, i = source.flux_gri
    z = i * (i / r) ** _I_Z_OF_R_I
    if source.shape[0] == 0:
        r_mag, z_mag = 22.5 - 2.5 * np.log10([r, z])
        w1, w1_w2 = float(10 ** (0.4 * (22.5 - star_w1(r_mag, z_mag)))), _STAR_W1_W2
    else:
        w1, w1_w2 = z * 10 ** (0.4 * _FAINT_Z_W1), _FAINT_W1_W2
    u = g * 10 ** (-0.4 * _U_G)
    return {"u": u, "g": g, "r": r, "i": i, "z": z, "W1": w1, "W2": w1 * 10 ** (0.4 * w1_w2)}
