"""How bright the default sky's objects are in W1 and W2, from their optical colours and redshifts.

Galaxies: z - Ks is a plane in colour and redshift, fitted to those of the catalogue that 2MASS measured; from Ks to W1
and W2 the steps are small, and decided here. Nothing of this was measured in the infrared beyond Ks: it is good for a
sky in which the infrared says of a redshift what it should, roughly as much as it should.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.catalogue import GALAXY, STAR, Objects
from pipeline.sandbox.morphology import Shapes

Floats = NDArray[np.float64]
BANDS = ("W1", "W2")
# Least absolute deviations of (z - Ks) [AB] from a plane in 1, g - r, r - z and redshift, over the 9,998 galaxies of
# the catalogue with Ks (K_M_EXT of 2MASS; AB is Vega + 1.85), corrected for Galactic extinction; they scatter by
# 0.24 mag, of which a good part is the error of Ks.
_Z_MINUS_K = np.array([-0.120, -0.275, 0.809, 2.815])
_SCATTER_MAG = 0.15
_K_AB, _W1_AB, _W2_AB = (
    1.85,
    2.699,
    3.339,
)  # AB minus Vega: Blanton & Roweis (2007); WISE Explanatory Supplement
# Vega colours, decided here: an early type's Ks - W1 and W1 - W2 are those of stars, near 0, dust and young stars add
# to a late type's (Jarrett et al. 2011, figure 26: spirals have W1 - W2 of 0 to 0.3), and both redden with redshift.
_K_W1 = (0.05, 0.15, 1.0)  # of an early type at redshift 0, more in a late one, more per redshift
_W1_W2 = (-0.03, 0.20, 0.8)
_STAR_SLOPE, _STAR_OFFSET = 0.8, -1.4
_QUASAR = (1.44, 0.33)  # z - W1 and W1 - W2 [AB] of a flux that goes with the wavelength


def infrared_mags(objects: Objects, shapes: Shapes, rng: np.random.Generator) -> Floats:
    """Return AB magnitudes ``(n, 2)`` in W1 and W2; Galactic extinction is left out there.

    Parameters
    ----------
    objects, shapes : Objects, Shapes
        Photometry, redshifts and types.
    rng : numpy.random.Generator
        Where the scatter about the relations comes from.
    """
    g, r, z = (22.5 - 2.5 * np.log10(np.clip(objects.flux, 0.05, None)) - objects.extinction).T[[1, 2, 4]]
    redshift, late = np.clip(objects.z, 0, 0.6), 1 - shapes.early
    colours = np.stack([np.ones_like(g), g - r, np.clip(r - z, -0.5, 2.0), redshift], axis=1)
    k = z - colours @ _Z_MINUS_K + rng.normal(0, _SCATTER_MAG, len(objects))
    w1 = k - (_K_AB - _W1_AB) - _K_W1[0] - _K_W1[1] * late - _K_W1[2] * redshift
    w2 = w1 - (_W1_AB - _W2_AB) - _W1_W2[0] - _W1_W2[1] * late - _W1_W2[2] * redshift
    galaxies = np.stack([w1, w2], axis=1)
    stars = np.stack([star_w1(r, z), star_w1(r, z) - (_W1_AB - _W2_AB)], axis=1)
    quasars = np.stack([z - _QUASAR[0], z - _QUASAR[0] - _QUASAR[1]], axis=1)
    kind = objects.kind[:, None]
    return np.where(kind == GALAXY, galaxies, np.where(kind == STAR, stars, quasars))


def star_w1(r: Floats, z: Floats) -> Floats:
    """Return the W1 magnitude of stars: below the line by which DESI tells red galaxies from them [AB].

    That line is z - W1 = 0.8 (r - z) - 0.6 (Zhou et al. 2023, eq. 1); how far below was decided here, by a G star's
    Vega colour of r - W1 near 1.4.
    """
    return np.asarray(z - _STAR_SLOPE * (r - z) - _STAR_OFFSET)
