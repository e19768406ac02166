"""The seam between the service and what it shows: tables, and a cutout by position."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.parameters import CsstRequest, FitsRequest, FrameRequest


class WrongGeometryError(ValueError):
    """The sky has no cutout of the scale or size asked for; the message names the one it has."""


class Sky(Protocol):
    """A sky that can be asked by SQL and by position."""

    @property
    def tables(self) -> Mapping[str, pa.Table]:
        """Base tables ``SpecObjAll`` and ``PhotoObjAll`` by name, columns spelled as SDSS spells them, and others."""

    @property
    def late_tables(self) -> Mapping[str, Callable[[], pa.Table]]:
        """Further tables by name, each made when it is first asked for."""

    def jpeg(self, ra: float, dec: float, scale: float, width: int, height: int) -> bytes | None:
        """Return a cutout, or None outside the footprint.

        Parameters
        ----------
        ra, dec : float
            Centre [degree].
        scale : float
            Pixel size [arcsec].
        width, height : int
            Size [pixel].

        Returns
        -------
        bytes or None
            A JPEG file.

        Raises
        ------
        WrongGeometryError
            If the sky only has another scale or size.
        """

    def fits(self, wanted: FitsRequest) -> bytes | None:
        """Return a FITS cutout, or None outside the footprint.

        Raises
        ------
        WrongGeometryError
            If the sky has no such images.
        """

    def csst(self, wanted: CsstRequest) -> bytes | None:
        """Return an image of the CSST mock as a FITS file, or None where it has no galaxy.

        Raises
        ------
        WrongGeometryError
            If the sky has no such images, or none of that size and scale.
        """

    def frame(self, wanted: FrameRequest, *, blank: bool = False) -> bytes | None:
        """Return one of SDSS's frames, packed by bzip2, with nothing on it if `blank`; None if there is none.

        Raises
        ------
        WrongGeometryError
            If the sky has no such images.
        """


def unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vectors ``(n, 3)`` of positions [degree]."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
