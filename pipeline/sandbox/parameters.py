"""Read what a client asks: which service, which query, which cutout."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

SIZE_RANGE = (64, 2048)  # what SkyServer's cutout service gives [pixel]
DEFAULT_SCALE_ARCSEC = 0.396127  # the SDSS camera's pixel, SkyServer's default

_ROUTES = {
    "search_tool": re.compile(r"^(/.*)?/dr\d+/en/tools/search/x_(results|sql)\.aspx?$", re.IGNORECASE),
    "web_service": re.compile(r"^(/.*)?/dr\d+/skyserverws/searchtools/sqlsearch/?$", re.IGNORECASE),
    "cutout": re.compile(r"^(/.*)?/dr\d+/skyserverws/imgcutout/getjpeg/?$", re.IGNORECASE),
    "stats": re.compile(r"^/_stats/?$"),
}


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
    try:
        ra, dec = float(given["ra"]), float(given["dec"])
        scale = float(given.get("scale", DEFAULT_SCALE_ARCSEC))
        width, height = (int(given.get(name, 128)) for name in ("width", "height"))
    except KeyError as fault:
        raise BadRequestError(f"Parameter {fault.args[0]} is required.") from fault
    except ValueError as fault:
        raise BadRequestError(f"A parameter is not a number: {fault}.") from fault
    if not (-360.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0):
        raise BadRequestError("ra must be within [0, 360] and dec within [-90, 90] degrees.")
    low, high = SIZE_RANGE
    if not (low <= width <= high and low <= height <= high):
        raise BadRequestError(f"width and height must be within [{low}, {high}] pixels.")
    if not 0.015 <= scale <= 60.0:
        raise BadRequestError("scale must be within [0.015, 60] arcsec per pixel.")
    return CutoutRequest(ra % 360.0, dec, scale, width, height)


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
