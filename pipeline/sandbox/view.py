"""The plane of an image: where its pixels are on the sky."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MARGIN_ARCSEC = 10.0  # how far a faint source still reaches into the picture


class View:
    """An image's plane, tangent at its centre: north up and east left, or tilted.

    Parameters
    ----------
    ra, dec : float
        Its centre [degree].
    scale : float
        Size of a pixel [arcsec].
    width, height : int
        Its size [pixel].
    margin_arcsec : float
        How far a source outside still reaches into it.
    tilt_deg : float
        Position angle of its upward direction [degree, north through east].
    """

    def __init__(
        self,
        ra: float,
        dec: float,
        scale: float,
        width: int,
        height: int,
        *,
        margin_arcsec: float = MARGIN_ARCSEC,
        tilt_deg: float = 0.0,
    ) -> None:
        self.ra, self.dec = ra, dec
        self._ra, self._dec = np.radians(ra), np.radians(dec)
        self.tilt_deg = tilt_deg
        self._east = -(np.arange(width) - (width - 1) / 2) * scale
        self._north = -(np.arange(height) - (height - 1) / 2) * scale
        self.shape = (height, width)
        self.radius_deg = float((np.hypot(width, height) / 2 * scale + margin_arcsec) / 3600)

    def offsets(self, ra: float, dec: float) -> tuple[Floats, Floats]:
        """Return where the pixel centres are from a position [arcsec]: east and north, if the plane is not tilted.

        In a tilted one they are along its rows, to the left, and along its columns, upwards.
        """
        a, d = np.radians(ra) - self._ra, np.radians(dec)
        depth = np.sin(self._dec) * np.sin(d) + np.cos(self._dec) * np.cos(d) * np.cos(a)
        east = np.cos(d) * np.sin(a) / depth
        north = (np.cos(self._dec) * np.sin(d) - np.sin(self._dec) * np.cos(d) * np.cos(a)) / depth
        if self.tilt_deg:
            cosine, sine = np.cos(np.radians(self.tilt_deg)), np.sin(np.radians(self.tilt_deg))
            east, north = east * cosine - north * sine, east * sine + north * cosine
        return self._east - np.degrees(east) * 3600, self._north - np.degrees(north) * 3600
