"""What each source of images gives: its bands, also as differences of two, its sizes, its server.

A band of a cube is a filter of its source, or a difference: ``g-r`` is the image in g minus that in r, pixel by pixel.
Differences are computed when the images are fetched; a source is asked only for filters.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

JPEG, LEGACY, FRAMES, CSST = "sdss-jpeg", "legacy-fits", "sdss-frames", "csst-fits"
FILTERS: Mapping[str, tuple[str, ...]] = {
    LEGACY: ("g", "r", "i", "z", "W1", "W2"),
    FRAMES: ("u", "g", "r", "i", "z"),
    CSST: ("NUV", "u", "g", "r", "i", "z", "y"),
}
"""The filters of each source of FITS images."""
SERVERS: Mapping[str, str] = {LEGACY: "https://www.legacysurvey.org", FRAMES: "https://data.sdss.org"}
"""The surveys' own servers of FITS images."""
CSST_PIXELS, CSST_ARCSEC = 32, 0.075
"""The CSST mock has images of this side and scale only (Zhou et al. 2022)."""
JPEG_PIXELS, JPEG_ARCSEC = (64, 2048), (0.015, 60.0)
"""Sides [pixel] and scales [arcsec a pixel] that SkyServer's cutout service takes."""
MOST_PIXELS: Mapping[str, int] = {LEGACY: 512, FRAMES: 512, CSST: 512}
"""The Legacy Surveys' cutout service gives no more a side; larger images would often hang over a frame's edge, which
has 2048 by 1489 pixels."""
SCENES, MOSAIC = "scenes", "mosaic"
"""Windows with the class of each pixel: drawn by the workers, or cut out of one's own FITS mosaics."""
EMRI, EMRI_BANDS = "emri", ("I", "II")
"""Signals of extreme-mass-ratio inspirals in TianQin's two channels."""
NONE, LOOKS = "none", ("pixels", "arcsec_per_pixel", "bands")
"""No images, for networks that learn from columns alone; and the keys that then say nothing."""
LOCAL = (SCENES, MOSAIC, EMRI, NONE)
"""Sources that are no servers: the workers make or read the images themselves, if there are any."""
SCENE_ARCSEC: Mapping[tuple[str, ...], float] = {("H", "J", "V", "Z"): 0.06, ("g", "r", "i"): 0.168}
"""Bands and pixel scales of the surveys that scenes are drawn as: CANDELS, and Hyper Suprime-Cam's."""
SCENE_CLASSES = ("spheroid", "disk", "irregular", "point_source", "background")
"""Classes of a pixel of a scene, in the order of labels and networks (Hausen & Robertson 2020)."""
FRAME_COLUMNS = ("run", "camcol", "field")
"""Columns that a sample must select, for they say which frame an object is on (`PhotoObj`)."""
FRAME_ARCSEC = 0.396
"""A pixel of an SDSS frame: images are taken out of frames as they are, at no other scale."""
EMRI_SAMPLES, EMRI_LEAST, EMRI_STEP_S = 262_144, 4_096, 30.0
"""Samples of a channel and the time between two [s] (Zhang et al. 2022, PRD 105, 123027): 91.02 days, frequencies
up to 16.67 mHz. Fewer are for trials."""
EMRI_COLUMNS = (
    *("mass_solar", "mu_solar", "spin", "e0", "p0", "iota_rad", "theta_s_rad", "phi_s_rad", "theta_k_rad"),
    *("phi_k_rad", "phase_rad", "gamma_rad", "alpha_rad", "z", "cutoff", "waveform", "snr"),
)
"""Columns that a sample must select, for a signal is computed from them (see `pipeline.sources.emri`)."""
NEEDED_COLUMNS: Mapping[str, tuple[str, ...]] = {
    FRAMES: FRAME_COLUMNS,
    EMRI: EMRI_COLUMNS,
    SCENES: ("number",),
    MOSAIC: ("field", "y", "x"),
}
NEEDED_FROM: Mapping[str, str] = {
    FRAMES: "PhotoObj has them",
    EMRI: "the sandbox's dbo.fEmri has them",
    SCENES: "the sandbox's SceneWindows has it",
    MOSAIC: "FieldWindows has them",
}
"""Columns that a sample must select for a source of images, and where they are."""
MADE_FROM: Mapping[str, tuple[str, ...]] = {
    source: columns for source, columns in NEEDED_COLUMNS.items() if source in LOCAL
}
"""Columns that decide a row's pixels as much as its id and position do: a cube is known by them too."""
MOST_PIXELS_AT_ALL = 2048


def parts_of(band: str) -> tuple[str, ...]:
    """Return the filters that a band is made of: itself, or the two that it is the difference of.

    Examples
    --------
    >>> parts_of("W1"), parts_of("g-r")
    (('W1',), ('g', 'r'))
    """
    return tuple(band.split("-", 1))


def filters_of(bands: Sequence[str]) -> tuple[str, ...]:
    """Return the filters that bands are made of, each once, in the order of their first use.

    Examples
    --------
    >>> filters_of(["r", "g-r", "W1-W2"])
    ('r', 'g', 'W1', 'W2')
    """
    return tuple(dict.fromkeys(part for band in bands for part in parts_of(band)))


def bands_fault(source: str, bands: Sequence[str]) -> str:
    """Say what is wrong with the bands asked of a source; nothing if they will do.

    Examples
    --------
    >>> bands_fault("legacy-fits", ["g", "g-r"]), bands_fault("legacy-fits", ["g-g"])
    ('', 'expected differences of two different filters, as g-r, found g-g')
    """
    if source == JPEG:
        good = len(bands) == 3 and len(set(bands)) == 3 and all(bands)
        return "" if good else 'expected three different bands, as ["i", "r", "g"]: a cutout is a JPEG'
    if source == EMRI:
        return (
            ""
            if tuple(bands) == EMRI_BANDS
            else f"expected the channels {list(EMRI_BANDS)}, found {list(bands)}"
        )
    if source == NONE:
        return ""
    if not bands or len(set(bands)) != len(bands):
        return f"expected one band or more, each once, found {list(bands)}"
    if source in LOCAL:
        return _window_bands_fault(source, bands)
    known = FILTERS[source]
    if strange := [band for band in bands if not set(parts_of(band)) <= set(known)]:
        return (
            f"expected filters of {source} ({', '.join(known)}) or differences of two of them, as g-r, "
            f"found {', '.join(strange)}"
        )
    if equal := [band for band in bands if len(set(parts_of(band))) != len(parts_of(band))]:
        return f"expected differences of two different filters, as g-r, found {', '.join(equal)}"
    return ""


def _window_bands_fault(source: str, bands: Sequence[str]) -> str:
    if source == MOSAIC or any(set(bands) <= set(known) for known in SCENE_ARCSEC):
        return ""
    surveys = " or ".join(", ".join(known) for known in SCENE_ARCSEC)
    return f"expected bands of one survey that scenes are drawn as ({surveys}), found {', '.join(bands)}"


def url_fault(source: str, url: str) -> str:
    """Say what is wrong with the URL of the server of a source; nothing if it will do, as an empty one does."""
    if "@" in url:
        return "expected no user or password in the URL: it is written into every product"
    if url and source in LOCAL:
        return f"expected none with images.source = {source!r}: no server is asked"
    if url and source == JPEG:
        return 'expected none with images.source = "sdss-jpeg": source.url serves the cutouts'
    good = not url or re.match(r"^https?://[^\s/]+", url)
    return "" if good else "expected a URL such as https://www.legacysurvey.org, or none"


def pixels_fault(source: str, pixels: int) -> str:
    """Say what is wrong with the side of an image [pixels]."""
    if source == EMRI:
        good = EMRI_LEAST <= pixels <= EMRI_SAMPLES and pixels & (pixels - 1) == 0
        words = (
            f"expected a power of two from {EMRI_LEAST:,} to {EMRI_SAMPLES:,} with images.source = {source!r}"
        )
        return "" if good else words
    most = MOST_PIXELS.get(source, MOST_PIXELS_AT_ALL)
    return f"expected at most {most} with images.source = {source!r}" if pixels > most else ""


def scale_fault(source: str, arcsec_per_pixel: float) -> str:
    """Say what is wrong with the size of a pixel [arcsec]."""
    if source == FRAMES and arcsec_per_pixel != FRAME_ARCSEC:
        return f"expected {FRAME_ARCSEC} with images.source = {source!r}, a frame's own pixel"
    if source == SCENES and arcsec_per_pixel not in SCENE_ARCSEC.values():
        scales = " or ".join(map(str, SCENE_ARCSEC.values()))
        return f"expected {scales} with images.source = {source!r}, the pixel of a survey that scenes are drawn as"
    return ""


def reduction_fault(source: str, pixels: int, asked_pixels: int | None) -> str:
    """Say what is wrong with the side [pixel] asked of the server, of images that are reduced to `pixels`.

    Examples
    --------
    >>> reduction_fault("sdss-jpeg", 80, 424), reduction_fault("sdss-jpeg", 80, 40)
    ('', 'expected a number from images.pixels (80) to 2048, or none')
    """
    if asked_pixels is None:
        return ""
    if source != JPEG:
        return f"expected none with images.source = {source!r}: only JPEGs are reduced"
    good = pixels <= asked_pixels <= JPEG_PIXELS[1]
    return "" if good else f"expected a number from images.pixels ({pixels}) to {JPEG_PIXELS[1]}, or none"


def scale_column_fault(source: str, *, recorded: str) -> str:
    """Say what stands against a scale that differs from row to row; `recorded` is the recorded sky, if it is one."""
    if source != JPEG:
        return f"expected none with images.source = {source!r}, whose images all have one scale"
    return f"expected none with the recorded sky {recorded}, whose images have one scale" if recorded else ""


def csst_fault(url: str, geometry: tuple[int, float]) -> str:
    """Say what stands against images of the CSST mock; `url` is that of a server of one's own, "sandbox" or "".

    Examples
    --------
    >>> csst_fault("sandbox", (64, 0.075))
    'expected pixels = 32 and arcsec_per_pixel = 0.075, as the sandbox has them'
    """
    if not url:
        return "is served by the sandbox only: set images.url to a server that speaks as it does"
    if url == "sandbox" and geometry != (CSST_PIXELS, CSST_ARCSEC):
        return (
            f"expected pixels = {CSST_PIXELS} and arcsec_per_pixel = {CSST_ARCSEC}, as the sandbox has them"
        )
    return ""


FAULTS: Mapping[str, Callable[[str, Any], str]] = {
    "url": url_fault,
    "pixels": pixels_fault,
    "arcsec_per_pixel": scale_fault,
    "bands": bands_fault,
}
"""By the key of ``[images]``: what is wrong with its value, for a source."""
