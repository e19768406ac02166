"""The seam between the service and what it shows: tables, and a cutout by position."""

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa


class WrongGeometryError(ValueError):
    """The sky has no cutout of the scale or size asked for; the message names the one it has."""


class Sky(Protocol):
    """A sky that can be asked by SQL and by position."""

    @property
    def tables(self) -> Mapping[str, pa.Table]:
        """Base tables ``SpecObjAll`` and ``PhotoObjAll`` by name, columns spelled as SDSS spells them."""

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
