"""The default sky: real galaxies by their photometry and redshift, drawn as SDSS would see them."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.cameras import LAYERS
from pipeline.sandbox.catalogue import BANDS, GALAXY, Objects, read_galaxies, with_point_sources
from pipeline.sandbox.csst.counter import CsstCounter
from pipeline.sandbox.draw import to_jpeg
from pipeline.sandbox.field import Source, faint_sources
from pipeline.sandbox.fits_answers import fits_answer
from pipeline.sandbox.frames import FrameDrawer
from pipeline.sandbox.kinematics import kinematics_table
from pipeline.sandbox.morphology import Shapes, shape_all
from pipeline.sandbox.options import CSST_GALAXIES
from pipeline.sandbox.painting import MARGIN_FWHM, Painter, with_noise
from pipeline.sandbox.parameters import CsstRequest, FitsRequest, FrameRequest
from pipeline.sandbox.profiles import DE_VAUCOULEURS, EXPONENTIAL, Blur, Light, galaxy, point
from pipeline.sandbox.scene_windows import scene_window_table
from pipeline.sandbox.sky import unit_vectors
from pipeline.sandbox.tables import build_tables
from pipeline.sandbox.tractor import tractor_table
from pipeline.sandbox.view import MARGIN_ARCSEC, View
from schemas.imaging import FRAME_ARCSEC

Floats = NDArray[np.float64]
_FOOTPRINT_DEG = 1.5
# Bulges are redder than disks: their share of the light in g and i against that in r.
_BULGE_SHARE_GRI = np.array([0.88, 1.0, 1.05])
_GRI = slice(1, 4)
_SHAPE_SEED, _POINT_SEED, _PSF_SEED, _NOISE_SEED, _COLOUR_SEED = 1, 2, 3, 4, 5
_NOISE_BANDS = (*BANDS, "W1", "W2")


class DefaultSky:
    """A sky of 10,000 real SDSS galaxies and some stars and quasars, drawn on demand.

    Parameters
    ----------
    seed : int
        Seed of shapes, seeing, noise and faint neighbours.
    csst_galaxies : int
        Number of galaxies of the CSST mock, which is a sky of its own beside this one.
    stamps : pathlib.Path or None
        Folder of HST stamps that its galaxies are drawn from.

    Raises
    ------
    SourceError
        If the galaxies' data are not installed, or the folder has no stamps.
    """

    def __init__(self, seed: int, *, csst_galaxies: int = CSST_GALAXIES, stamps: Path | None = None) -> None:
        self._seed = seed
        self._csst = CsstCounter(seed, csst_galaxies, stamps)
        self._csst.check()
        self.objects: Objects = with_point_sources(
            read_galaxies(), np.random.default_rng((seed, _POINT_SEED))
        )
        self.shapes: Shapes = shape_all(self.objects, np.random.default_rng((seed, _SHAPE_SEED)))
        self._vectors = unit_vectors(self.objects.ra, self.objects.dec)

    @cached_property
    def tables(self) -> Mapping[str, pa.Table]:
        """Base tables by name."""
        tables = build_tables(self.objects, self.shapes, seed=self._seed)
        objid, colours = tables["PhotoObjAll"]["objID"].to_numpy(), self._colours
        tractor = tractor_table(self.objects, self.shapes, objid, colours=colours, seed=self._seed)
        spec = tables["SpecObjAll"]
        kinematics = kinematics_table(
            self.shapes, objid, (spec["bestObjID"].to_numpy(), spec["specObjID"].to_numpy()), seed=self._seed
        )
        return {**tables, "Tractor": tractor, "Kinematics": kinematics}

    @property
    def late_tables(self) -> Mapping[str, Callable[[], pa.Table]]:
        """The tables of the CSST mock, and of scenes."""
        return {"Csst": self._csst.table, "SceneWindows": scene_window_table}

    @property
    def _colours(self) -> np.random.Generator:
        return np.random.default_rng((self._seed, _COLOUR_SEED))

    def jpeg(self, ra: float, dec: float, scale: float, width: int, height: int) -> bytes | None:
        """Draw a cutout, or return None farther than 1.5 degrees from any object.

        See Also
        --------
        pipeline.sandbox.sky.Sky.jpeg
        """
        view = View(ra, dec, scale, width, height)
        near = self._near(ra, dec, view.radius_deg)
        if near is None:
            return None
        place = (self._seed, *(round(angle * 1e5) for angle in (ra, dec + 90)))
        blur = Blur(float(np.random.default_rng((*place, _PSF_SEED)).normal(1.35, 0.06)))
        light = np.zeros((3, height, width), dtype=np.float32)
        for index in near:
            self._add_object(light, view, blur, index)
        for source in faint_sources(self._seed, ra, dec, view.radius_deg):
            _add_source(light, view, blur, source)
        light *= np.float32(FRAME_ARCSEC**2)
        rng = np.random.default_rng((*place, _NOISE_SEED, int(scale * 1e6), width, height))
        return to_jpeg(light, scale, rng)

    @cached_property
    def _painter(self) -> Painter:
        return Painter(self.objects, self.shapes, self._colours)

    def fits(self, wanted: FitsRequest) -> bytes | None:
        """Draw a FITS cutout, or return None farther than 1.5 degrees from any object.

        See Also
        --------
        pipeline.sandbox.sky.Sky.fits
        """
        ra, dec, scale, size = wanted.ra, wanted.dec, wanted.scale, wanted.width
        cameras = [LAYERS[wanted.layer][name] for name in wanted.bands]
        margin = MARGIN_FWHM * max(camera.fwhm_arcsec for camera in cameras)
        view = View(ra, dec, scale, size, size, margin_arcsec=max(MARGIN_ARCSEC, margin))
        near = self._near(ra, dec, view.radius_deg)
        if near is None:
            return None
        faint = faint_sources(self._seed, ra, dec, view.radius_deg)
        place = (self._seed, *(round(angle * 1e5) for angle in (ra, dec + 90)), _NOISE_SEED)
        planes = []
        for camera in cameras:
            rng = np.random.default_rng((*place, int(scale * 1e6), size, _NOISE_BANDS.index(camera.band)))
            planes.append(with_noise(self._painter.light(camera, view, near, faint), camera, scale, rng))
        return fits_answer(np.stack(planes), wanted)

    def csst(self, wanted: CsstRequest) -> bytes | None:
        """Return an image of the CSST mock.

        See Also
        --------
        pipeline.sandbox.sky.Sky.csst
        """
        return self._csst.fits(wanted)

    @cached_property
    def _frames(self) -> FrameDrawer:
        objid = self.tables["PhotoObjAll"]["objID"].to_numpy()
        return FrameDrawer(self.objects, objid, self._painter, seed=self._seed)

    def frame(self, wanted: FrameRequest, *, blank: bool = False) -> bytes | None:
        """Draw a frame of SDSS's camera, or return None if no object is in that field.

        See Also
        --------
        pipeline.sandbox.sky.Sky.frame
        """
        return self._frames.frame(wanted, blank=blank)

    def _near(self, ra: float, dec: float, radius_deg: float) -> list[int] | None:
        """Return the objects within a circle, or None outside the footprint."""
        cosines = np.einsum("nk,k->n", self._vectors, unit_vectors(np.array([ra]), np.array([dec]))[0])
        if cosines.max() < np.cos(np.radians(_FOOTPRINT_DEG)):
            return None
        return np.flatnonzero(cosines > np.cos(np.radians(radius_deg))).tolist()

    def _add_object(self, light: Light, view: View, blur: Blur, index: int) -> None:
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


def _add_source(light: Light, view: View, blur: Blur, source: Source) -> None:
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
