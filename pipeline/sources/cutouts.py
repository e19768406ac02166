"""Cutouts: what is asked of the server, and what its answer is worth.

A body is trusted only after it was looked at: HTTP 200 may carry an error page, half a JPEG, a black tile,
or a picture of an error message.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from pipeline.sources.images import Asking, Body, Place, asking_of
from pipeline.sources.reducing import reduced
from pipeline.sources.verdicts import Verdict, digest_of, judge_words
from schemas.config import RunFile
from schemas.flags import Status
from schemas.imaging import JPEG_ARCSEC

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

QUICK_PIXELS = 256
"""Pictures up to this width are decoded in a millisecond at most; a decoding thread would hold the interpreter's lock
for longer than that each time the loop wants it back."""


@dataclass(frozen=True)
class CutoutSource(Asking):
    """SkyServer's cutout service: one JPEG a row.

    With a ``scale_column`` a row's scale is `arcsec_per_pixel` times that column [arcsec]. ``stored_pixels`` are those
    that a picture of ``pixels`` is reduced to; 0: it is taken as it is.
    """

    url: str
    release: int
    pixels: int
    arcsec_per_pixel: float
    scale_column: str = ""
    stored_pixels: int = 0

    @classmethod
    def of(cls, run: RunFile, url: str) -> "CutoutSource":
        """Take the source from a run file; `url` is the server's real address (the sandbox's, if it is that)."""
        images = run.images
        asked, stored = (images.asked_pixels, images.pixels) if images.asked_pixels else (images.pixels, 0)
        size = (asked, images.arcsec_per_pixel, images.scale_column, stored)
        return cls(url, run.source.release, *size, **asking_of(run))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the sample that a place must have beside ``ra`` and ``dec``."""
        return (self.scale_column,) if self.scale_column else ()

    @property
    def is_quick(self) -> bool:
        """Whether an image is judged in a millisecond or so."""
        return self.pixels <= QUICK_PIXELS

    def scale(self, place: Place) -> float:
        """Return the scale [arcsec a pixel] of a row's picture; a change in the seventh decimal is not seen."""
        if not self.scale_column:
            return self.arcsec_per_pixel
        return round(self.arcsec_per_pixel * float(place[self.scale_column]), 6)

    def refusal(self, place: Place) -> str:
        """Say why a row's scale is none that the server takes; nothing if it is one.

        Examples
        --------
        >>> source = CutoutSource("http://sky", 17, 424, 0.02, "petroR50_r", 80)
        >>> source.refusal({"petroR50_r": 3.0}), source.refusal({"petroR50_r": -9999.0})
        ('', 'petroR50_r is -9999: -199.98 arcsec a pixel, and the server takes 0.015 to 60')
        """
        if not self.scale_column:
            return ""
        scale, (least, most) = self.scale(place), JPEG_ARCSEC
        if least <= scale <= most:  # which is not so for NaN
            return ""
        found = f"{self.scale_column} is {place[self.scale_column]:g}"
        return f"{found}: {scale:g} arcsec a pixel, and the server takes {least:g} to {most:g}"

    def address(self, ra: float, dec: float, scale: float | None = None) -> str:
        """Return the URL of the cutout centred on `ra`, `dec` [deg]; `scale` [arcsec a pixel] if it has its own.

        Examples
        --------
        >>> CutoutSource("http://sky", 17, 64, 0.396).address(10.5, -2.25)
        'http://sky/dr17/SkyServerWS/ImgCutout/getjpeg?ra=10.5&dec=-2.25&scale=0.396&width=64&height=64'
        """
        side = f"width={self.pixels}&height={self.pixels}"
        query = f"ra={float(ra)!r}&dec={float(dec)!r}&scale={scale or self.arcsec_per_pixel!r}&{side}"
        return f"{self.url.rstrip('/')}/dr{self.release}/SkyServerWS/ImgCutout/getjpeg?{query}"

    def addresses(self, place: Place) -> tuple[str, ...]:
        """Return the URL of a row's one cutout."""
        return (self.address(place["ra"], place["dec"], self.scale(place)),)

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Judge the body of a row's cutout."""
        verdict = judge_body(*bodies[0], self.pixels)
        if verdict.pixels is None or not self.stored_pixels:
            return verdict
        return replace(verdict, pixels=reduced(verdict.pixels, self.stored_pixels))


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
    read, so it is asked for again and taken for `Status.OUTSIDE_FOOTPRINT` only when the very same picture comes
    back each time.
    """
    if not body.startswith(JPEG_START):
        return judge_words(body, content_type)
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
    digest = digest_of([body])
    if fault := _blankness(image):
        outside = Status.OUTSIDE_FOOTPRINT if fault == DRAWN else None
        return Verdict(Status.BLANK, fault, digest=digest, if_same=outside)
    return Verdict(Status.OK, pixels=image, digest=digest)


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
