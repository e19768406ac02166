"""Draw the frames of the default sky, as SDSS's archive has them.

A frame of the sandbox is only as large as the objects need that have its run, camera column and field in their ids, and
never larger than SDSS's 2048 by 1489 pixels: fields of the sandbox are half a degree wide, and an object that would
hang over the edge is not on it. Every run has a tilt of its own.
"""

import bz2
import io
from functools import cached_property

import numpy as np
from astropy.io import fits

from pipeline.sandbox.cameras import FRAMES
from pipeline.sandbox.catalogue import BANDS, Objects
from pipeline.sandbox.field import faint_sources
from pipeline.sandbox.ids import unpack_objid
from pipeline.sandbox.painting import Painter, with_noise
from pipeline.sandbox.parameters import FrameRequest
from pipeline.sandbox.profiles import Light
from pipeline.sandbox.sky import unit_vectors
from pipeline.sandbox.view import View

WIDTH, HEIGHT = 2048, 1489
BORDER_PX = 160
"""What there is at least around the objects of a frame: room for images of 224 pixels a side, however tilted."""
_TILT_SEED, _NOISE_SEED = 21, 22
BZIP2_TYPE = "application/x-bzip2"


class FrameDrawer:
    """Frames of a sky, by run, camera column and field.

    Parameters
    ----------
    objects : Objects
        What there is.
    objid : numpy.ndarray of uint64, ``(n,)``
        Their ids, which say on which frame they are.
    painter : Painter
        Paints them.
    seed : int
        Seed of tilts and noise.
    """

    def __init__(self, objects: Objects, objid: np.ndarray, painter: Painter, *, seed: int) -> None:
        self._objects = objects
        self._painter = painter
        self._seed = seed
        parts = unpack_objid(objid.astype(np.uint64))
        self._fields = np.stack([parts[name] for name in ("run", "camcol", "field")], axis=1)

    @cached_property
    def _vectors(self) -> np.ndarray:
        return unit_vectors(self._objects.ra, self._objects.dec)

    def frame(self, wanted: FrameRequest, *, blank: bool = False) -> bytes | None:
        """Return a frame as FITS packed by bzip2, with nothing on it if `blank`; None if no object is in that field."""
        members = np.flatnonzero((self._fields == (wanted.run, wanted.camcol, wanted.field)).all(axis=1))
        if not len(members):
            return None
        first = int(members[0])
        ra, dec = float(self._objects.ra[first]), float(self._objects.dec[first])
        tilt = float(np.random.default_rng((self._seed, wanted.run, _TILT_SEED)).uniform(0, 360))
        camera = FRAMES[wanted.band]
        width, height = self._size(members, ra, dec, tilt)
        view = View(ra, dec, camera.native_arcsec, width, height, tilt_deg=tilt)
        if blank:
            return _packed(np.zeros((height, width), np.float32), view, wanted)
        cosines = self._vectors @ self._vectors[first]
        near = np.flatnonzero(cosines > np.cos(np.radians(view.radius_deg))).tolist()
        light = self._painter.light(camera, view, near, faint_sources(self._seed, ra, dec, view.radius_deg))
        place = (self._seed, wanted.run, wanted.camcol, wanted.field, BANDS.index(wanted.band), _NOISE_SEED)
        image = with_noise(light, camera, camera.native_arcsec, np.random.default_rng(place))
        # SDSS rounds, too: digits far below the noise cannot be packed.
        step = np.float32(2.0 ** np.floor(np.log2(camera.sky_sigma / 16)))
        return _packed(np.rint(image / step) * step, view, wanted)

    def _size(self, members: np.ndarray, ra: float, dec: float, tilt: float) -> tuple[int, int]:
        """Return width and height of a frame, centred on its first object, that holds as many as may be."""
        view = View(ra, dec, FRAMES["r"].native_arcsec, 1, 1, tilt_deg=tilt)
        offsets = [view.offsets(self._objects.ra[k], self._objects.dec[k]) for k in members]
        apart = np.abs([[x[0], y[0]] for x, y in offsets]) / FRAMES["r"].native_arcsec
        sides = 2 * (apart + BORDER_PX)
        sides = sides[(sides <= (WIDTH, HEIGHT)).all(axis=1)]
        return int(sides[:, 0].max()), int(sides[:, 1].max())


def _packed(image: Light, view: View, wanted: FrameRequest) -> bytes:
    """Return an image ``(h, w)``, first row up, as SDSS packs a frame."""
    height, width = image.shape
    step, tilt = FRAMES[wanted.band].native_arcsec / 3600, np.radians(view.tilt_deg)
    cards: dict[str, str | float] = {"RUN": wanted.run, "CAMCOL": wanted.camcol, "FRAME": wanted.field}
    cards |= {"FILTER": wanted.band, "BUNIT": "nanomaggy", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    cards |= {"CRPIX1": (width + 1) / 2, "CRPIX2": (height + 1) / 2, "CRVAL1": view.ra, "CRVAL2": view.dec}
    cards |= {"CD1_1": -step * np.cos(tilt), "CD1_2": step * np.sin(tilt)}
    cards |= {"CD2_1": step * np.sin(tilt), "CD2_2": step * np.cos(tilt)}
    hdu = fits.PrimaryHDU(np.ascontiguousarray(image[::-1], ">f4"))
    hdu.header.update(cards)
    file = io.BytesIO()
    hdu.writeto(file)
    return bz2.compress(file.getvalue(), 1)
