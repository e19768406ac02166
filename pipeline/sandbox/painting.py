"""Paint the default sky as a camera sees it: light and noise of one band, in the survey's own unit."""

import numpy as np

from pipeline.sandbox.brightness import object_fluxes, source_fluxes
from pipeline.sandbox.cameras import Camera
from pipeline.sandbox.catalogue import GALAXY, Objects
from pipeline.sandbox.draw import grain
from pipeline.sandbox.field import Source
from pipeline.sandbox.morphology import Shapes
from pipeline.sandbox.profiles import DE_VAUCOULEURS, EXPONENTIAL, Light, galaxy, point
from pipeline.sandbox.view import View

MARGIN_FWHM = 4.0
"""How far beyond the edge a source still reaches into an image, in widths of the PSF."""


class Painter:
    """The objects of a sky, ready to be painted in any band.

    Parameters
    ----------
    objects, shapes : Objects, Shapes
        What there is to see.
    rng : numpy.random.Generator
        Where the scatter of infrared colours comes from.
    """

    def __init__(self, objects: Objects, shapes: Shapes, rng: np.random.Generator) -> None:
        self._objects = objects
        self._shapes = shapes
        self._fluxes = object_fluxes(objects, shapes, rng)

    def light(self, camera: Camera, view: View, near: list[int], faint: list[Source]) -> Light:
        """Return the light ``(h, w)`` of some objects and faint sources, in the camera's unit a native pixel."""
        light = np.zeros(view.shape, dtype=np.float32)
        for index in near:
            self._add_object(light, camera, view, index)
        for source in faint:
            _add_source(light, camera, view, source)
        return light * camera.light_per_flux

    def _add_object(self, light: Light, camera: Camera, view: View, index: int) -> None:
        flux = np.float32(self._fluxes[camera.band][index])
        x, y = view.offsets(self._objects.ra[index], self._objects.dec[index])
        if self._objects.kind[index] != GALAXY:
            light += flux * point(camera.blur, x, y)
            return
        shapes = self._shapes
        share = np.float32(np.clip(shapes.bulge_share[index] * camera.bulge_share, 0, 1))
        angle = shapes.angle_deg[index] - view.tilt_deg
        disk = (shapes.disk_arcsec[index], shapes.disk_ratio[index], angle)
        light += flux * (1 - share) * galaxy(EXPONENTIAL, camera.blur, x, y, shape=disk)
        bulge = (shapes.bulge_arcsec[index], shapes.bulge_ratio[index], angle)
        light += flux * share * galaxy(DE_VAUCOULEURS, camera.blur, x, y, shape=bulge)


def _add_source(light: Light, camera: Camera, view: View, source: Source) -> None:
    """Add a faint source to the pixels near it."""
    x, y = view.offsets(source.ra, source.dec)
    reach = 4 * max(source.shape[0], camera.fwhm_arcsec)
    columns, rows = np.flatnonzero(np.abs(x) < reach), np.flatnonzero(np.abs(y) < reach)
    if len(columns) == 0 or len(rows) == 0:
        return
    near = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    flux = np.float32(source_fluxes(source)[camera.band])
    if source.shape[0] == 0:
        light[near] += flux * point(camera.blur, x[columns], y[rows])
    else:
        radius, ratio, angle = source.shape
        shape = (radius, ratio, angle - view.tilt_deg)
        light[near] += flux * galaxy(EXPONENTIAL, camera.blur, x[columns], y[rows], shape=shape)


def with_noise(light: Light, camera: Camera, scale_arcsec: float, rng: np.random.Generator) -> Light:
    """Return light ``(h, w)`` with the camera's noise, in pixels of `scale_arcsec`."""
    sigma = np.sqrt(camera.sky_sigma**2 + np.float32(camera.variance_per_light) * np.maximum(light, 0))
    noise = grain((1, *light.shape), scale_arcsec, camera.native_arcsec, rng)[0]
    return (light + noise * sigma).astype(np.float32)
