"""Read what a client asks: which service, which query, which cutout."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipeline.sandbox.cameras import LAYERS
from schemas.imaging import CSST_ARCSEC, CSST_PIXELS, JPEG_PIXELS

Number = TypeVar("Number", int, float)
DEFAULT_SCALE_ARCSEC = 0.396127  # the SDSS camera's pixel, SkyServer's default

_ROUTES = {
    "search_tool": re.compile(r"^(/.*)?/dr\d+/en/tools/search/x_(results|sql)\.aspx?$", re.IGNORECASE),
    "web_service": re.compile(r"^(/.*)?/dr\d+/skyserverws/searchtools/sqlsearch/?$", re.IGNORECASE),
    "cutout": re.compile(r"^(/.*)?/dr\d+/skyserverws/imgcutout/getjpeg/?$", re.IGNORECASE),
    "fits_cutout": re.compile(r"^(/.*)?/viewer/fits-cutout/?$", re.IGNORECASE),
    "csst_cutout": re.compile(r"^(/.*)?/csst/fits-cutout/?$", re.IGNORECASE),
    "frame": re.compile(
        r"^/sas/dr\d+/(eboss|(groups/)?boss|prior-surveys/sdss4-dr17-eboss)/photoObj/frames/301"
        r"/\d+/\d/frame-[ugriz]-\d{6}-\d-\d{4}\.fits\.bz2$"
    ),
    "stats": re.compile(r"^/_stats/?$"),
}


FITS_SIZE_RANGE = (1, 512)
"""What the Legacy Surveys' cutout service gives [pixel]; it cuts down what is more."""


class BadRequestError(ValueError):
    """A parameter is missing or cannot be read; the message says which."""


@dataclass(frozen=True)
class CutoutRequest:
    """A cutout: centre [degree], pixel [arcsec], size [pixel]."""

    ra: float
    dec: float
    scale: float
    width: int
    height: int

    @property
    def geometry(self) -> str:
        """Scale and size, as one word."""
        return f"{self.scale:g}/{self.width}x{self.height}"


@dataclass(frozen=True)
class FitsRequest:
    """A FITS cutout of a layer: centre [degree], pixel [arcsec], side [pixel], and bands as the layer names them."""

    ra: float
    dec: float
    scale: float
    width: int
    layer: str
    bands: tuple[str, ...]

    @property
    def height(self) -> int:
        """Its other side [pixel]."""
        return self.width

    @property
    def geometry(self) -> str:
        """Layer, bands, scale and size, as one word."""
        return f"{self.layer}/{''.join(self.bands)}/{self.scale:g}/{self.width}"


@dataclass(frozen=True)
class CsstRequest:
    """An image of the CSST mock in all its bands: centre [degree], pixel [arcsec], side [pixel]."""

    ra: float
    dec: float
    scale: float
    width: int

    @property
    def geometry(self) -> str:
        """Scale and size, as one word."""
        return f"csst/{self.scale:g}/{self.width}"


@dataclass(frozen=True)
class FrameRequest:
    """A frame: run, camera column and field, and the band."""

    run: int
    camcol: int
    field: int
    band: str

    @property
    def name(self) -> str:
        """The frame, as one word."""
        return f"{self.band}-{self.run:06d}-{self.camcol}-{self.field:04d}"


@dataclass(frozen=True)
class SqlRequest:
    """A query, and the format that its answer is wanted in: ``csv`` or ``json``."""

    sql: str
    format: str


def service_of(path: str) -> str | None:
    """Name the service that answers a path: any release, any leading path, any case.

    >>> service_of("//dr17/en/tools/search/X_Results.aspx"), service_of("/dr8/elsewhere")
    ('search_tool', None)
    """
    plain = re.sub("/{2,}", "/", path)
    return next((name for name, route in _ROUTES.items() if route.match(plain)), None)


def read_cutout(parameters: Mapping[str, str]) -> CutoutRequest:
    """Read a cutout's parameters; names in any case.

    Raises
    ------
    BadRequestError
        If a position is missing, or a number is not one or out of range.
    """
    given = {name.lower(): value for name, value in parameters.items()}
    ra, dec, scale = _place(given, "scale", DEFAULT_SCALE_ARCSEC)
    width, height = (_number(int, given, name, 128) for name in ("width", "height"))
    low, high = JPEG_PIXELS
    if not (low <= width <= high and low <= height <= high):
        raise BadRequestError(f"width and height must be within [{low}, {high}] pixels.")
    return CutoutRequest(ra, dec, scale, width, height)


def read_fits_cutout(parameters: Mapping[str, str]) -> FitsRequest:
    """Read the parameters of a FITS cutout as the Legacy Surveys' service does: it corrects what it can not give.

    Raises
    ------
    BadRequestError
        If a position is missing, a number is not one or out of range, or there is no such layer.
    """
    layer = LAYERS.get(parameters.get("layer", "ls-dr10"))
    if layer is None:
        raise BadRequestError(f"No such layer: {parameters['layer']}.")
    native = next(iter(layer.values())).native_arcsec
    ra, dec, scale = _place(parameters, "pixscale", native)
    low, high = FITS_SIZE_RANGE
    size = max(low, min(_number(int, parameters, "size", 256), high))
    asked = tuple(parameters.get("bands", ""))
    bands = asked if asked and set(asked) <= set(layer) else tuple(layer)
    return FitsRequest(ra, dec, scale, size, parameters.get("layer", "ls-dr10"), bands)


def read_csst_cutout(parameters: Mapping[str, str]) -> CsstRequest:
    """Read the parameters of an image of the CSST mock.

    Raises
    ------
    BadRequestError
        If a position is missing, or a number is not one or out of range.
    """
    ra, dec, scale = _place(parameters, "pixscale", CSST_ARCSEC)
    return CsstRequest(ra, dec, scale, _number(int, parameters, "size", CSST_PIXELS))


def read_frame(path: str) -> FrameRequest:
    """Read which frame a path names.

    >>> read_frame("/sas/dr17/eboss/photoObj/frames/301/94/3/frame-u-000094-3-0011.fits.bz2").name
    'u-000094-3-0011'
    """
    band, run, camcol, field = path.rpartition("/frame-")[2].removesuffix(".fits.bz2").split("-")
    return FrameRequest(int(run), int(camcol), int(field), band)


def _place(given: Mapping[str, str], scale_name: str, default_scale: float) -> tuple[float, float, float]:
    """Return centre [degree] and pixel [arcsec] of an image."""
    ra, dec = (_number(float, given, name) for name in ("ra", "dec"))
    scale = _number(float, given, scale_name, default_scale)
    if not (-360.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0):
        raise BadRequestError("ra must be within [0, 360] and dec within [-90, 90] degrees.")
    if not 0.015 <= scale <= 60.0:
        raise BadRequestError(f"{scale_name} must be within [0.015, 60] arcsec per pixel.")
    return ra % 360.0, dec, scale


def _number(kind: type[Number], given: Mapping[str, str], name: str, default: Number | None = None) -> Number:
    if name not in given and default is not None:
        return default
    try:
        return kind(given[name])  # type: ignore[call-arg]
    except KeyError as fault:
        raise BadRequestError(f"Parameter {name} is required.") from fault
    except ValueError as fault:
        raise BadRequestError(f"A parameter is not a number: {fault}.") from fault


def read_sql(parameters: Mapping[str, str], *, default_format: str) -> SqlRequest:
    """Read a query's parameters; names in any case.

    Raises
    ------
    BadRequestError
        If there is no query, or the format is not csv or json.
    """
    given = {name.lower(): value for name, value in parameters.items()}
    if not given.get("cmd", "").strip():
        raise BadRequestError("Parameter cmd is required.")
    wanted = given.get("format", default_format).lower()
    if wanted not in ("csv", "json"):
        raise BadRequestError(f"Format {wanted} is not supported here; ask for csv or json.")
    return SqlRequest(given["cmd"], wanted)
