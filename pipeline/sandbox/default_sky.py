"""The default sky: real galaxies by their photometry and redshift, drawn as SDSS would see them."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.catalogue import GALAXY, Objects, read_galaxies, with_point_sources
from pipeline.sandbox.draw import NATIVE_ARCSEC, to_jpeg
from pipeline.sandbox.field import Source, faint_sources
from pipeline.sandbox.morphology import Shapes, shape_all
from pipeline.sandbox.profiles import DE_VAUCOULEURS, EXPONENTIAL, Blur, Light, galaxy, point
from pipeline.sandbox.sky import unit_vectors
from pipeline.sandbox.tables import build_tables

Floats = NDArray[np.float64]
_FOOTPRINT_DEG = 1.5
_MARGIN_ARCSEC = 10.0  # how far a faint source still reaches into the picture
# Bulges are redder than disks: their share of the light in g and i against that in r.
_BULGE_SHARE_GRI = np.array([0.88, 1.0, 1.05])
_GRI = slice(1, 4)
_SHAPE_SEED, _POINT_SEED, _PSF_SEED, _NOISE_SEED = 1, 2, 3, 4


class DefaultSky:
    """A sky of 10,000 real SDSS galaxies and some stars and quasars, drawn on demand.

    Parameters
    ----------
    seed : int
        Seed of shapes, seeing, noise and faint neighbours.

    Raises
    ------
    SourceError
        If the galaxies' data are not installed.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.objects: Objects = with_point_sources(
            read_galaxies(), np.random.default_rng((seed, _POINT_SEED))
        )
        self.shapes: Shapes = shape_all(self.objects, np.random.default_rng((seed, _SHAPE_SEED)))
        self._vectors = unit_vectors(self.objects.ra, self.objects.dec)

    @cached_property
    def tables(self) -> Mapping[str, pa.Table]:
        """Base tables by name."""
        return build_tables(self.objects, self.shapes, seed=self._seed)

    def jpeg(self, ra: float, dec: float, scale: float, width: int, height: int) -> bytes | None:
        """Draw a cutout, or return None farther than 1.5 degrees from any object.

        See Also
        --------
        pipeline.sandbox.sky.Sky.jpeg
        """
        view = _View(ra, dec, scale, width, height)
        cosines = np.einsum("nk,k->n", self._vectors, unit_vectors(np.array([ra]), np.array([dec]))[0])
        if cosines.max() < np.cos(np.radians(_FOOTPRINT_DEG)):
            return None
        place = (self._seed, *(round(angle * 1e5) for angle in (ra, dec + 90)))
        blur = Blur(float(np.random.default_rng((*place, _PSF_SEED)).normal(1.35, 0.06)))
        light = np.zeros((3, height, width), dtype=np.float32)
        for index in np.flatnonzero(cosines > np.cos(np.radians(view.radius_deg))):
            self._add_object(light, view, blur, int(index))
        for source in faint_sources(self._seed, ra, dec, view.radius_deg):
            _add_source(light, view, blur, source)
        light *= np.float32(NATIVE_ARCSEC**2)
        rng = np.random.default_rng((*place, _NOISE_SEED, int(scale * 1e6), width, height))
        return to_jpeg(light, scale, rng)

    def _add_object(self, light: Light, view: "_View", blur: Blur, index: int) -> None:
        flux = self.objects.flux[index, _GRI].astype(np.float32)
        x, y = view.offsets(self.objects.ra[index], self.objects.dec[index])
        if self.objects.kind[index] != GALAXY:
            light += flux[:, None, None] * point(blur, x, y)
            return
        shapes = self.shapes
        share = np.clip(shapes.bulge_share[index] * _BULGE_SHARE_GRI, 0, 1).astype(np.float32)
        angle = shapes.angle_deg[index]
        if share[1] < 0.999:
            disk = (shapes.disk_arcsec[index], shapes.disk_ratio[index], angle)
            light += (flux * (1 - share))[:, None, None] * galaxy(EXPONENTIAL, blur, x, y, shape=disk)
        if share[1] > 0.001:
            bulge = (shapes.bulge_arcsec[index], shapes.bulge_ratio[index], angle)
            light += (flux * share)[:, None, None] * galaxy(DE_VAUCOULEURS, blur, x, y, shape=bulge)


class _View:
    """A cutout's plane: north up, east left, tangent at its centre."""

    def __init__(self, ra: float, dec: float, scale: float, width: int, height: int) -> None:
        self._ra, self._dec = np.radians(ra), np.radians(dec)
        self._scale = scale
        self._east = -(np.arange(width) - (width - 1) / 2) * scale
        self._north = -(np.arange(height) - (height - 1) / 2) * scale
        self.radius_deg = float((np.hypot(width, height) / 2 * scale + _MARGIN_ARCSEC) / 3600)

    def offsets(self, ra: float, dec: float) -> tuple[Floats, Floats]:
        """Return where the pixel centres are from a position, east and north [arcsec]."""
        a, d = np.radians(ra) - self._ra, np.radians(dec)
        depth = np.sin(self._dec) * np.sin(d) + np.cos(self._dec) * np.cos(d) * np.cos(a)
        east = np.cos(d) * np.sin(a) / depth
        north = (np.cos(self._dec) * np.sin(d) - np.sin(self._dec) * np.cos(d) * np.cos(a)) / depth
        return self._east - np.degrees(east) * 3600, self._north - np.degrees(north) * 3600


def _add_source(light: Light, view: _View, blur: Blur, source: Source) -> None:
    """Add a faint source to the pixels near it."""
    x, y = view.offsets(source.ra, source.dec)
    reach = 4 * max(source.shape[0], 1.5)
    columns, rows = np.flatnonzero(np.abs(x) < reach), np.flatnonzero(np.abs(y) < reach)
    if len(columns) == 0 or len(rows) == 0:
        return
    near = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    flux = np.array(source.flux_gri, dtype=np.float32)[:, None, None]
    if source.shape[0] == 0:
        light[near] += flux * point(blur, x[columns], y[rows])
    else:
        light[near] += flux * galaxy(EXPONENTIAL, blur, x[columns], y[rows], shape=source.shape)
