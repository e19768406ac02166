"""A mosaic: one FITS image a band, all of the same pixels, of which any part can be read."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import angular_separation
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from schemas.errors import StoreError

_SCALE_TOLERANCE = 1e-3
"""How far, relatively, pixel scales of bands may differ, as far as their corners agree, too."""
_SHIFT_PIXELS = 0.5
"""How far apart [pixel] two bands may put the same corner."""
_MEND = "copy the file again; if it is whole, mend NAXIS1, NAXIS2 or BITPIX in its header"
_ALIGN = "bring them to one grid, for instance with SWarp or reproject"
STRIP_VALUES = 1 << 24
"""Values of a mosaic that are looked at together."""


@dataclass(frozen=True)
class Plane:
    """One band's image; without sky coordinates its scale is NaN and it has no corners (ra, dec of each)."""

    path: str
    hdu: int
    shape: tuple[int, int]
    arcsec_per_pixel: float
    corners_deg: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mosaic:
    """Images of the same sky in several bands; ``mosaic[y0:y1, x0:x1]`` reads ``(y, x, band)`` float32.

    It holds no open file, so it can be sent to a worker. Bands and planes are in the order of the last axis.
    """

    bands: tuple[str, ...]
    planes: tuple[Plane, ...]
    arcsec_per_pixel: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and bands."""
        return (*self.planes[0].shape, len(self.bands))

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[np.float32]:
        """Read a part ``(y, x, band)``; only its rows are read from the disk.

        Raises
        ------
        StoreError
            A file cannot be read, or is no longer what it was.
        """
        return np.stack([self._band(plane, part) for plane in self.planes], axis=-1)

    def band(self, name: str) -> NDArray[np.float32]:
        """Read a whole band ``(y, x)``."""
        return self._band(self.planes[self.bands.index(name)], (slice(None), slice(None)))

    @staticmethod
    def _band(plane: Plane, part: tuple[slice, slice]) -> NDArray[np.float32]:
        try:
            with _opened(Path(plane.path)) as hdus:
                if hdus[plane.hdu].shape != plane.shape:
                    raise OSError(f"it has {hdus[plane.hdu].shape} pixels now")
                return np.asarray(hdus[plane.hdu].section[part], np.float32)
        except (OSError, ValueError, TypeError, IndexError) as error:
            raise StoreError(
                f"{plane.path} cannot be read: {error}; expected an image of {plane.shape}",
                "restore the file, or make the plan anew",
            ) from error

    def sky_header(self) -> fits.Header:
        """Return the cards of the sky coordinates, of the first band that has some; none without a WCS."""
        for plane in self.planes:
            if plane.corners_deg:
                return _wcs(_header(Path(plane.path), plane.hdu)[0]).to_header()
        return fits.Header()

    def sky(self, y: NDArray[Any], x: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return right ascension and declination [degree] of pixels counted from 0; NaN without a WCS."""
        for plane in self.planes:
            if plane.corners_deg:
                header, _ = _header(Path(plane.path), plane.hdu)
                ra, dec = _wcs(header).pixel_to_world_values(x, y)
                return np.asarray(ra), np.asarray(dec)
        nothing = np.full(np.shape(y), np.nan)
        return nothing, nothing.copy()


def open_mosaic(
    paths: Mapping[str, str | Path], *, arcsec_per_pixel: float | None = None, blank: str = "refuse"
) -> Mosaic:
    """Return the mosaic of these files, once it is known that they belong together.

    The first image of two dimensions in each file is taken.

    Parameters
    ----------
    paths : mapping
        File of each band, in the order in which the network wants them.
    arcsec_per_pixel : float, optional
        The pixel scale; needed where no header tells it, and compared with those that do.
    blank : str
        Whether pixels that are not finite are refused (``refuse``), or no window that holds one votes
        (``skip``): such pixels stay without a class.

    Raises
    ------
    StoreError
        A file is missing, cut off or longer than its headers say, or has no image; bands differ in size, pixel
        scale or position; or a pixel is not finite.
    """
    if not paths:
        raise StoreError("a mosaic needs at least one band, found none", "name a FITS file for each band")
    planes = {band: _plane(Path(path)) for band, path in paths.items()}
    _check_sizes(planes)
    scale = _common_scale(planes, arcsec_per_pixel)
    _check_positions(planes, scale)
    mosaic = Mosaic(tuple(planes), tuple(planes.values()), scale)
    if blank == "refuse":
        _check_finite(mosaic)
    return mosaic


@contextmanager
def _opened(path: Path) -> Iterator[fits.HDUList]:
    """Open a FITS file; it is closed whatever comes, which Astropy does not do itself."""
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore", AstropyWarning)
        with fits.open(file) as hdus:
            yield hdus


def _header(path: Path, hdu: int | None = None) -> tuple[fits.Header, int]:
    """Return the header of an image, the first one if none is named, and its number."""
    with _opened(path) as hdus:
        _check_length(path, hdus)
        images = [number for number, one in enumerate(hdus) if one.is_image and len(one.shape) == 2]
        if not images:
            found = ", ".join(str(one.shape) for one in hdus if one.is_image) or "no image"
            raise StoreError(
                f"{path}: expected an image of two dimensions, found {found}", "give one file for each band"
            )
        number = images[0] if hdu is None else hdu
        return hdus[number].header.copy(), number


def _check_length(path: Path, hdus: fits.HDUList) -> None:
    """Refuse a file that does not end where its headers say."""
    found, info = path.stat().st_size, hdus[-1].fileinfo()
    expected = info["datLoc"] + info["datSpan"]
    if expected != found:
        shapes = ", ".join(str(one.shape) for one in hdus if one.is_image)
        raise StoreError(
            f"{path}: its headers (images of {shapes}) ask for {expected} bytes, the file has {found}",
            _MEND,
        )


def _plane(path: Path) -> Plane:
    try:
        with path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                raise StoreError(f"{path} is compressed: its parts cannot be read in place", f"gunzip {path}")
        header, number = _header(path)
    except FileNotFoundError:
        raise StoreError(f"there is no file {path}", "give the path of a FITS file") from None
    except (OSError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} is not a FITS file that can be read, or is longer or shorter than its header says: {error}",
            _MEND,
        ) from error
    shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
    wcs = _wcs(header)
    if not wcs.has_celestial:
        return Plane(str(path), number, shape, float("nan"), ())
    scales = proj_plane_pixel_scales(wcs.celestial) * 3600
    y, x = np.array([0, 0, shape[0] - 1, shape[0] - 1]), np.array([0, shape[1] - 1, 0, shape[1] - 1])
    ra, dec = (np.asarray(one).tolist() for one in wcs.celestial.pixel_to_world_values(x, y))
    return Plane(str(path), number, shape, float(np.sqrt(scales.prod())), tuple(zip(ra, dec, strict=True)))


def _wcs(header: fits.Header) -> WCS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        return WCS(header, naxis=2)


def _check_sizes(planes: Mapping[str, Plane]) -> None:
    if len({plane.shape for plane in planes.values()}) > 1:
        found = ", ".join(f"{band} {plane.shape[0]}x{plane.shape[1]}" for band, plane in planes.items())
        raise StoreError(
            f"the bands of a mosaic have the same pixels: found {found} (rows x columns)",
            _ALIGN,
        )


def _common_scale(planes: Mapping[str, Plane], told: float | None) -> float:
    found = {band: plane.arcsec_per_pixel for band, plane in planes.items() if plane.corners_deg}
    if told is not None:
        found["(told)"] = told
    if not found:
        raise StoreError(
            "no header of the mosaic tells its pixel scale",
            "set arcsec_per_pixel, or add a WCS to the headers",
        )
    low, high = min(found.values()), max(found.values())
    if not low > 0 or high - low > _SCALE_TOLERANCE * low:
        words = ", ".join(f"{band} {scale:.5g}" for band, scale in found.items())
        raise StoreError(
            f'the bands of a mosaic have the same pixel scale: found {words} ["/pixel]',
            _ALIGN,
        )
    return next(iter(found.values()))


def _check_positions(planes: Mapping[str, Plane], arcsec_per_pixel: float) -> None:
    """Refuse bands whose corners lie elsewhere on the sky."""
    placed = [(band, np.radians(plane.corners_deg)) for band, plane in planes.items() if plane.corners_deg]
    for band, corners in placed[1:]:
        (ra, dec), (other_ra, other_dec) = placed[0][1].T, corners.T
        angles = np.degrees(angular_separation(ra, dec, other_ra, other_dec))
        apart = angles.max() * 3600 / arcsec_per_pixel
        if apart > _SHIFT_PIXELS:
            raise StoreError(
                f"the bands of a mosaic show the same sky: band {band} lies {apart:.1f} pixels away from "
                f"{placed[0][0]}",
                _ALIGN,
            )


def _check_finite(mosaic: Mosaic) -> None:
    """Refuse a mosaic with pixels that are not finite, looking at a strip of rows at a time."""
    height, width, bands = mosaic.shape
    rows = max(1, STRIP_VALUES // (width * bands))
    for y in range(0, height, rows):
        bad = ~np.isfinite(mosaic[y : y + rows, 0:width])
        if bad.any():
            row, column, band = np.argwhere(bad)[0].tolist()
            raise StoreError(
                f"band {mosaic.bands[band]} has a pixel that is not finite at y = {y + row}, x = {column} "
                f"({int(bad.sum())} values in rows {y} to {min(y + rows, height) - 1})",
                "fill or cut away such pixels, or set blank to 'skip': what is near them stays without a class",
            )
