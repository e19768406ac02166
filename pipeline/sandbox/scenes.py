"""Scenes whose every pixel has a known class: fields of galaxies and stars as a survey would see them.

They are drawn with the sandbox's own profiles (`pipeline.sandbox.profiles`), which agree with GalSim's: so training
pixels can be made on any worker, and need nothing installed. The noise is that of the sky, in each pixel for
itself; noise of the light, saturation and correlated noise are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.profiles import DE_VAUCOULEURS, EXPONENTIAL, SIGMA_PER_FWHM, Blur, galaxy, point
from schemas.imaging import SCENE_CLASSES

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

BACKGROUND = SCENE_CLASSES.index("background")

_REACH = {EXPONENTIAL[0].size: 4.0, DE_VAUCOULEURS[0].size: 8.0}
"""Where the profiles end, in half-light radii."""
_PSF_REACH = 4.0
"""Where the PSF ends, in widths at half maximum: beyond it is 1 part in 1,000 of its light."""
_NOISE = 17
"""Tells the random numbers of the noise from others of the same seed."""


@dataclass(frozen=True)
class Survey:
    """What a scene is seen with.

    Attributes
    ----------
    bands : tuple of str
        Names, in the order of an image's last axis.
    wavelength_nm, fwhm_arcsec, depth_mag : tuple of float
        Of each band: mean wavelength, width of the PSF, magnitude (AB) of a point source of 5 sigma.
    arcsec_per_pixel : float
        The pixel scale.
    zero_point_mag : float
        AB magnitude of a flux of 1 in the images, in every band.
    reference : str
        The band whose magnitude a source is given.
    magnitudes : tuple of float
        The brightest and the faintest source in `reference`.
    radius_arcsec : tuple of float
        Half-light radii of the smallest and the largest galaxy.
    sources_per_arcmin2 : float
        How crowded a field is.
    """

    bands: tuple[str, ...]
    wavelength_nm: tuple[float, ...]
    fwhm_arcsec: tuple[float, ...]
    depth_mag: tuple[float, ...]
    arcsec_per_pixel: float
    zero_point_mag: float
    reference: str
    magnitudes: tuple[float, float]
    radius_arcsec: tuple[float, float]
    sources_per_arcmin2: float

    @cached_property
    def sigma(self) -> Floats:
        """The sky's noise in a pixel of each band, in the images' unit.

        A point source of Gaussian width s [pixel], measured as well as can be, has the noise of ``4 pi s**2`` pixels
        (King 1983, PASP 95, 163).
        """
        width = np.array(self.fwhm_arcsec) * SIGMA_PER_FWHM / self.arcsec_per_pixel
        return self.flux(np.array(self.depth_mag)) / 5 / np.sqrt(4 * np.pi * width**2)

    def flux(self, magnitude: Any) -> Any:
        """Return the flux of an AB magnitude, in the images' unit."""
        return 10 ** (0.4 * (self.zero_point_mag - magnitude))

    @cached_property
    def blurs(self) -> list[Blur]:
        """The PSF of each band."""
        return [Blur(fwhm) for fwhm in self.fwhm_arcsec]


# Rounded numbers near those of the surveys' papers, decided here. The zero points leave the noise above the floor of
# the networks' standardisation, so that what is learnt holds for images in any unit that does the same.
CANDELS = Survey(
    bands=("H", "J", "V", "Z"),
    wavelength_nm=(1537, 1249, 592, 903),
    fwhm_arcsec=(0.18, 0.16, 0.11, 0.11),
    depth_mag=(27.0, 27.0, 28.0, 27.5),
    arcsec_per_pixel=0.06,
    zero_point_mag=28.0,
    reference="H",
    magnitudes=(19.0, 26.5),
    radius_arcsec=(0.12, 0.8),
    sources_per_arcmin2=150,
)
"""As GOODS-S in CANDELS (Grogin et al. 2011, Koekemoer et al. 2011), in the order of Morpheus' bands."""
HSC = Survey(
    bands=("g", "r", "i"),
    wavelength_nm=(477, 616, 768),
    fwhm_arcsec=(0.77, 0.76, 0.58),
    depth_mag=(26.6, 26.2, 26.2),
    arcsec_per_pixel=0.168,
    zero_point_mag=27.0,
    reference="i",
    magnitudes=(17.0, 25.5),
    radius_arcsec=(0.35, 2.5),
    sources_per_arcmin2=60,
)
"""As the wide layer of the Hyper Suprime-Cam survey (Aihara et al. 2019)."""


@dataclass(frozen=True)
class Component:
    """A part of a galaxy: share of its light, offset and half-light radius [arcsec], flattening, angle [degree]."""

    share: float
    offset_arcsec: tuple[float, float]
    profile: tuple[Floats, Floats]
    shape: tuple[float, float, float]


@dataclass(frozen=True)
class SceneSource:
    """A source: its place [pixel], class, magnitude in the survey's reference band, colour and form.

    Attributes
    ----------
    y, x : float
        Its centre, in pixels counted from 0.
    kind : str
        One of `SCENE_CLASSES`.
    magnitude : float
        AB, in the reference band.
    slope : float
        Magnitudes that it is brighter at e times the wavelength.
    radius_arcsec : float
        Half-light radius, 0 of a star.
    components : tuple of Component
        Its parts, none of a star.
    """

    y: float
    x: float
    kind: str
    magnitude: float
    slope: float
    radius_arcsec: float = 0.0
    components: tuple[Component, ...] = ()


@dataclass(frozen=True)
class Scene:
    """A drawn scene: ``image`` ``(y, x, band)`` and ``labels`` ``(y, x, class)``, both float32."""

    image: Light
    labels: Light


def fluxes(survey: Survey, source: SceneSource) -> Floats:
    """Return a source's flux in each band, in the images' unit."""
    wavelength = np.array(survey.wavelength_nm)
    longer = np.log(wavelength / wavelength[survey.bands.index(survey.reference)])
    return np.asarray(survey.flux(source.magnitude - source.slope * longer))


def draw_scene(
    survey: Survey,
    sources: Sequence[SceneSource],
    *,
    shape: tuple[int, int],
    seed: int | Sequence[int],
    threshold: float = 1.0,
) -> Scene:
    """Draw sources, their noise, and the label of each pixel.

    Where the light of all sources together is above the threshold, a pixel belongs to the classes by their
    shares of it; elsewhere it is background. The light is that before the noise, of all bands, each in units of its
    noise, summed and divided by the root of their number: what a pixel of the bands' stack has of signal to noise.

    Parameters
    ----------
    survey : Survey
        What it is seen with.
    sources : sequence of SceneSource
        What there is; none for pure noise.
    shape : tuple of int
        Rows and columns.
    seed : int or sequence of int
        Decides the noise.
    threshold : float
        Signal to noise in a pixel of the stack from which on it belongs to a source.
    """
    bands = len(survey.bands)
    image = np.zeros((*shape, bands), np.float32)
    signal = np.zeros((*shape, len(SCENE_CLASSES)), np.float32)
    weights = (1 / survey.sigma / np.sqrt(bands)).astype(np.float32)
    for source in sources:
        place, light = _stamp(survey, source, shape)
        image[place] += light
        signal[place][..., SCENE_CLASSES.index(source.kind)] += light @ weights
    total = signal.sum(axis=-1, keepdims=True)
    labels = np.where(total > threshold, signal / np.maximum(total, 1e-30), 0).astype(np.float32)
    labels[..., BACKGROUND] = 1 - (total[..., 0] > threshold)
    random = np.random.default_rng([_NOISE, *np.atleast_1d(seed).tolist()])
    noise = random.standard_normal(image.shape, dtype=np.float32)
    return Scene(image + noise * survey.sigma.astype(np.float32), labels)


def _reach_arcsec(survey: Survey, source: SceneSource) -> float:
    """Return how far from its centre a source has light."""
    parts = source.components
    own = [float(np.hypot(*one.offset_arcsec)) + one.shape[0] * _REACH[one.profile[0].size] for one in parts]
    return max(own, default=0.0) + _PSF_REACH * max(survey.fwhm_arcsec)


def _stamp(survey: Survey, source: SceneSource, shape: tuple[int, int]) -> tuple[tuple[slice, slice], Light]:
    """Return where in the scene a source's light falls, and the light ``(y, x, band)``."""
    blurs, scale = survey.blurs, survey.arcsec_per_pixel
    reach = _reach_arcsec(survey, source) / scale
    rows, columns = (
        slice(max(int(np.floor(centre - reach)), 0), max(min(int(np.ceil(centre + reach)) + 1, size), 0))
        for centre, size in zip((source.y, source.x), shape, strict=True)
    )
    y: Floats = (np.arange(rows.start, rows.stop, dtype=np.float64) - source.y) * scale
    x: Floats = (np.arange(columns.start, columns.stop, dtype=np.float64) - source.x) * scale
    light = np.zeros((len(y), len(x), len(blurs)), np.float32)
    for band, flux in enumerate((fluxes(survey, source) * scale**2).tolist()):
        if not source.components:
            light[..., band] = point(blurs[band], x, y) * flux
        for part in source.components:
            down, right = part.offset_arcsec
            drawn = galaxy(part.profile, blurs[band], x - right, y - down, shape=part.shape)
            light[..., band] += drawn * (part.share * flux)
    return (rows, columns), light


def signal_to_noise(survey: Survey, source: SceneSource) -> float:
    """Return the signal to noise of the best measurement of a source's light in all bands, were it alone."""
    middle = float(np.ceil(_reach_arcsec(survey, source) / survey.arcsec_per_pixel))
    side = 2 * int(middle) + 1
    _, light = _stamp(survey, replace(source, y=middle, x=middle), (side, side))
    return float(np.sqrt(np.sum((light / survey.sigma) ** 2)))
