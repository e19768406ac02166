"""Cutouts: what is asked of the server, and what its answer is worth.

A body is trusted only after it was looked at: HTTP 200 may carry an error page, half a JPEG, a black tile,
or a picture of an error message.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from schemas.arrays import DIGEST_BYTES
from schemas.config import RunFile
from schemas.flags import Status

FOOTPRINT_WORDS = b"outside the sdss footprint"
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
CONSTANT_SPREAD = 2
"""A tile whose values differ by no more than so many levels of 255 holds no sky."""
DRAWN_SHARE = 0.35
"""A dark tile of which this share is one colour was drawn, not taken: in 2,745 real SkyServer cutouts the
commonest colour covers 22 % at most, in a black tile with four lines of white text 64 % or more."""
DARK_LEVEL = 8
LETTER_LEVEL, LETTER_PIXELS, LETTER_EDGE = 60, 100, 0.6
"""Letters: at least so many pixels above so bright a level, that differ from a neighbour by this share of their value.
Found 0.71 to 0.91 for text of any colour, 0.11 at most in real cutouts, 0.68 for a point source of a few pixels."""
DRAWN = "drawn text on black"
CLEARED_SHARE = 0.25
"""Two in a thousand real cutouts have a dark green value that fills more than this."""
_NEAR = [bytes(range(max(0, v - CONSTANT_SPREAD), min(255, v + CONSTANT_SPREAD) + 1)) for v in range(256)]
"""Values that may stand beside each value in a constant tile."""

_PERMANENT_HTTP = {400, 401, 403, 405, 406, 410, 414, 451}


@dataclass(frozen=True)
class CutoutSource:
    """A cutout service and how it is asked; plain data that travels to the workers.

    ``retries`` counts the further times a transient failure is asked again; ``guard_s`` is the longest one
    request may take from its first byte to its last.
    """

    url: str
    release: int
    pixels: int
    arcsec_per_pixel: float
    max_bytes: int = 8_000_000
    connect_timeout_s: float = 20.0
    read_timeout_s: float = 30.0
    retries: int = 6
    backoff_s: float = 1.0

    @classmethod
    def of(cls, run: RunFile, url: str) -> "CutoutSource":
        """Take the source from a run file; `url` is the server's real address (the sandbox's, if it is that)."""
        images, politeness = run.images, run.politeness
        return cls(
            url,
            run.source.release,
            images.pixels,
            images.arcsec_per_pixel,
            images.max_bytes,
            politeness.connect_timeout_s,
            politeness.read_timeout_s,
            politeness.retries,
        )

    @property
    def guard_s(self) -> float:
        """Longest time [s] for one request: a server that drips a byte at a time must end too."""
        return self.connect_timeout_s + 4 * self.read_timeout_s

    def address(self, ra: float, dec: float) -> str:
        """Return the URL of the cutout centred on `ra`, `dec` [deg].

        Examples
        --------
        >>> CutoutSource("http://sky", 17, 64, 0.396).address(10.5, -2.25)
        'http://sky/dr17/SkyServerWS/ImgCutout/getjpeg?ra=10.5&dec=-2.25&scale=0.396&width=64&height=64'
        """
        side = f"width={self.pixels}&height={self.pixels}"
        query = f"ra={float(ra)!r}&dec={float(dec)!r}&scale={self.arcsec_per_pixel!r}&{side}"
        return f"{self.url.rstrip('/')}/dr{self.release}/SkyServerWS/ImgCutout/getjpeg?{query}"


@dataclass(frozen=True)
class Verdict:
    """What an answer is worth: a status, in words why, and for a good one pixels ``(y, x, band)`` and digest."""

    status: Status
    detail: str = ""
    pixels: np.ndarray | None = None
    digest: bytes = b""


def judge_status(http_status: int, body: bytes) -> Verdict | None:
    """Judge an answer by its HTTP status; None means that the body decides."""
    if http_status == 200:
        return None
    detail = f"HTTP {http_status}"
    if http_status in (404, 400) and FOOTPRINT_WORDS in body.lower():
        return Verdict(Status.OUTSIDE_FOOTPRINT, detail)
    if http_status == 404:
        return Verdict(Status.NOT_FOUND, detail)
    if http_status in (429, 503):
        return Verdict(Status.THROTTLED, detail)
    if http_status in (408, 504):
        return Verdict(Status.TIMEOUT, detail)
    if http_status in _PERMANENT_HTTP:
        return Verdict(Status.REFUSED, detail)
    return Verdict(Status.SERVER_ERROR, detail)


def judge_body(body: bytes, content_type: str, pixels: int) -> Verdict:
    """Look at the body of an answer with status 200.

    Parameters
    ----------
    body : bytes
        The whole body.
    content_type : str
        As the server said.
    pixels : int
        Width and height asked for.

    Notes
    -----
    A constant tile is `Status.BLANK` and may be asked again: servers give one while an image is not ready.
    A black tile with text drawn on it has the same status here and the detail `DRAWN`; the text can not be
    read, so `stages.fetch` asks again and takes it for `Status.OUTSIDE_FOOTPRINT` only when the very same
    picture comes back each time.
    """
    if not body.startswith(JPEG_START):
        return _not_a_jpeg(body, content_type)
    if not body.rstrip(b"\x00\r\n ").endswith(JPEG_END):
        return Verdict(Status.TRUNCATED, f"no end of image after {len(body):,} bytes")
    try:
        picture = JpegImageFile(io.BytesIO(body))
        # Before anything is decoded: a small body may claim to be a huge picture.
        if picture.size != (pixels, pixels):
            found = "x".join(map(str, picture.size))
            return Verdict(Status.WRONG_SIZE, f"expected {pixels}x{pixels}, found {found}")
        image = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        truncated = "truncated" in str(error)
        return Verdict(Status.TRUNCATED if truncated else Status.NOT_AN_IMAGE, str(error)[:200])
    digest = hashlib.sha256(body).digest()[:DIGEST_BYTES]
    if fault := _blankness(image):
        return Verdict(Status.BLANK, fault, digest=digest)
    return Verdict(Status.OK, pixels=image, digest=digest)


def _not_a_jpeg(body: bytes, content_type: str) -> Verdict:
    head = body[:4096].lower()
    if FOOTPRINT_WORDS in head:
        return Verdict(Status.OUTSIDE_FOOTPRINT, "the server says so in words")
    words = " ".join(body[:200].decode("ascii", "replace").split())[:80]
    if "html" in content_type or head.lstrip().startswith((b"<!doctype", b"<html", b"<")) or b"error" in head:
        return Verdict(Status.ERROR_PAGE, f"{content_type or 'no content type'}: {words}")
    if not body:
        return Verdict(Status.TRUNCATED, "empty body")
    return Verdict(Status.NOT_AN_IMAGE, f"{content_type or 'no content type'}, {len(body):,} bytes")


def _blankness(image: np.ndarray) -> str:
    """Say why a picture shows no sky. The green of some 300 pixels, as bytes, clears nearly every picture."""
    step = max(1, len(image) // 16)
    green = image[::step, ::step, 1].tobytes()
    if not green.strip(_NEAR[green[0]]) and np.ptp(image, axis=(0, 1)).max() <= CONSTANT_SPREAD:
        return f"constant tile of {image[0, 0].tolist()}"
    if max(map(green.count, range(DARK_LEVEL + 1))) < CLEARED_SHARE * len(green):
        return ""
    colours, counts = np.unique(image @ (1 << 16, 1 << 8, 1), return_counts=True)
    commonest = int(colours[counts.argmax()])
    is_dark = max(commonest >> 16, commonest >> 8 & 255, commonest & 255) <= DARK_LEVEL
    return DRAWN if is_dark and counts.max() > DRAWN_SHARE * counts.sum() and _is_lettered(image) else ""


def _is_lettered(image: np.ndarray) -> bool:
    """Say whether what is bright has the hard edges of letters; a telescope's image never has."""
    grey = image.mean(axis=2)
    bright = grey > LETTER_LEVEL
    if bright.sum() < LETTER_PIXELS:
        return False
    step = np.maximum(
        np.abs(np.diff(grey, axis=1, prepend=grey[:, :1])), np.abs(np.diff(grey, axis=0, prepend=grey[:1]))
    )
    return bool(np.minimum(1.0, step[bright] / grey[bright]).mean() > LETTER_EDGE)
