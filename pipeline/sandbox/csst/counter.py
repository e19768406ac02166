"""What a sandbox serves of the mock survey: a table and images by position, made when they are first asked for."""

import importlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.parameters import CsstRequest
from pipeline.sandbox.sky import WrongGeometryError, unit_vectors
from schemas.imaging import CSST_ARCSEC, CSST_PIXELS

if TYPE_CHECKING:
    from pipeline.sandbox.csst.sky import CsstSky

_NEAR_ARCSEC = CSST_ARCSEC / 2


class CsstCounter:
    """The mock survey's table ``Csst``, and its images.

    Parameters
    ----------
    seed : int
        Seed of the sky.
    count : int
        Number of galaxies.
    stamps : pathlib.Path or None
        Folder of HST stamps; without it galaxies are drawn from profiles.
    """

    def __init__(self, seed: int, count: int, stamps: Path | None) -> None:
        self._seed, self._count, self._stamps = seed, count, stamps

    @cached_property
    def _sky(self) -> "CsstSky":
        # Its libraries take half a second to load, which no other sandbox should wait for.
        found: CsstSky = importlib.import_module("pipeline.sandbox.csst.sky").CsstSky(
            self._seed, self._count, self._stamps
        )
        return found

    @cached_property
    def _vectors(self) -> NDArray[np.float64]:
        ra, dec = np.array([self._sky.position(n) for n in range(self._count)]).reshape(-1, 2).T
        return unit_vectors(ra, dec)

    def check(self) -> None:
        """Read the stamps, if there are to be any.

        Raises
        ------
        SourceError
            If the folder has none.
        """
        if self._stamps is not None:
            len(self._sky)

    def table(self) -> pa.Table:
        """Return the table: a row a galaxy, some milliseconds each, for its fluxes are measured on its image."""
        return self._sky.table()

    def fits(self, wanted: CsstRequest) -> bytes | None:
        """Return the FITS file of the galaxy at a position, or None where there is none.

        Raises
        ------
        WrongGeometryError
            If another size or scale is asked for.
        """
        if (wanted.width, wanted.scale) != (CSST_PIXELS, CSST_ARCSEC):
            raise WrongGeometryError(
                f"the CSST mock has images of size={CSST_PIXELS} and pixscale={CSST_ARCSEC}; asked for "
                f"size={wanted.width} and pixscale={wanted.scale:g}"
            )
        if self._count == 0:
            return None
        place = unit_vectors(np.array([wanted.ra]), np.array([wanted.dec]))
        chord = np.linalg.norm(self._vectors - place, axis=1)
        nearest = int(np.argmin(chord))
        if np.degrees(chord[nearest]) * 3600 > _NEAR_ARCSEC:
            return None
        return self._sky.fits(nearest)
