"""SDSS's corrected frames: whole fields in u, g, r, i, z, out of which an image is taken.

A frame is a file of the Science Archive Server, ``sas/drNN/…/photoObj/frames/301/RUN/CAMCOL/frame-BAND-…fits.bz2``
(SDSS's data model, "frame"): nanomaggies of the AB system in pixels of 0.396 arcsec, along the scan, with a WCS of the
tangent plane. Each pixel of an image, north up, is the nearest one of the frame: nothing is interpolated, so a few
pixels of the frame stand twice and a few not at all. A row needs the columns ``run``, ``camcol`` and ``field`` of its
sample. The rows of a field are one request a band together.

An image that hangs over a frame's edge is refused. Fields of a scan share 128 rows, but an object is of the field that
has it 64 rows or more from that edge (SDSS's "resolve"), so a neighbouring field has less of it, not more.
"""

import bz2
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.sources.fits_image import BadImageError, FitsImage, check_exposed, nothing_seen, read_fits
from pipeline.sources.images import Asking, Body, Place, asking_of
from pipeline.sources.stacking import stack
from pipeline.sources.tangent import from_plane, to_plane
from pipeline.sources.verdicts import Verdict, digest_of, judge_words
from schemas.config import RunFile
from schemas.flags import Status
from schemas.imaging import FRAME_COLUMNS, filters_of

RERUN = 301
HOMES = {18: "prior-surveys/sdss4-dr17-eboss", 13: "eboss", 9: "boss", 8: "groups/boss"}
"""Folder of the imaging in the archive of a data release, and of those after it."""
LONGEST_FRAME = 64 * 2**20
"""A frame unpacked [bytes]: 2048 by 1489 pixels are 12 MB, the tables behind them little."""
SCALE_TOLERANCE = 0.01
"""Pixels of frames differ so much from 0.396 arcsec, by camera column and band."""


@dataclass(frozen=True)
class FrameSource(Asking):
    """The Science Archive Server's frames; one request a field and band."""

    url: str
    release: int
    pixels: int
    arcsec_per_pixel: float
    bands: tuple[str, ...]

    @classmethod
    def of(cls, run: RunFile, url: str) -> "FrameSource":
        """Take the source from a run file; `url` is the server's real address."""
        images = run.images
        place = (url, run.source.release, images.pixels, images.arcsec_per_pixel, images.bands)
        return cls(*place, **asking_of(run))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the sample that a place must have beside ``ra`` and ``dec``."""
        return FRAME_COLUMNS

    @property
    def backlog(self) -> int:
        """Fields whose bodies may wait: those of five bands are 10 MB or more."""
        return 4

    @property
    def most_put_back(self) -> int:
        """Fields that may wait to be asked for again before others are begun."""
        return 8

    def field_of(self, place: Place) -> tuple[int, ...]:
        """Return run, camera column and field: what is on one frame comes from one request."""
        return tuple(int(place[name]) for name in FRAME_COLUMNS)

    def addresses(self, place: Place) -> tuple[str, ...]:
        """Return the URLs of the frames that a row's object is on, one a band.

        Examples
        --------
        >>> place = {"ra": 10.5, "dec": -2.25, "run": 94, "camcol": 3, "field": 11}
        >>> FrameSource("http://sas", 17, 64, 0.396, ("u-g",)).addresses(place)[0]
        'http://sas/sas/dr17/eboss/photoObj/frames/301/94/3/frame-u-000094-3-0011.fits.bz2'
        """
        run, camcol, field = self.field_of(place)
        home = next(home for first, home in HOMES.items() if self.release >= first)
        base = f"{self.url.rstrip('/')}/sas/dr{self.release}/{home}/photoObj/frames/{RERUN}/{run}/{camcol}"
        return tuple(
            f"{base}/frame-{band}-{run:06d}-{camcol}-{field:04d}.fits.bz2" for band in filters_of(self.bands)
        )

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Look at the frames of a row, and take its image out of each."""
        return self.judge_all([place], bodies)[0]

    def judge_all(self, places: Sequence[Place], bodies: Sequence[Body]) -> list[Verdict]:
        """Look at the frames of a field, one after the other, and take the images of all places out of each."""
        images: list[dict[str, np.ndarray]] = [{} for _ in places]
        faults: dict[int, Verdict] = {}
        for number, (band, body) in enumerate(zip(filters_of(self.bands), bodies, strict=True)):
            if not (left := [k for k in range(len(places)) if k not in faults]):
                break
            try:
                frame = read_fits(unpacked(body))
                _check_cards(frame, band, places[0])
            except BadImageError as fault:
                faults |= dict.fromkeys(left, Verdict(fault.status, fault.detail, request=number))
                break
            for k in left:
                found = self._look(frame, band, places[k], number, body)
                if isinstance(found, Verdict):
                    faults[k] = found
                else:
                    images[k][band] = found
        digest = digest_of(body.content for body in bodies) if len(faults) < len(places) else b""
        return [
            faults.get(k) or Verdict(Status.OK, pixels=stack(images[k], self.bands), digest=digest)
            for k in range(len(places))
        ]

    def _look(
        self, frame: FitsImage, band: str, place: Place, number: int, body: Body
    ) -> np.ndarray | Verdict:
        """Return the image of a place, or what is wrong with it."""
        try:
            image = self._image(frame, band, place)
            if verdict := nothing_seen({band: image}, body.content, number):
                return verdict
            check_exposed(image, band)
        except BadImageError as fault:
            return Verdict(fault.status, fault.detail, request=number)
        return image

    def _image(self, frame: FitsImage, band: str, place: Place) -> np.ndarray:
        """Return the image ``(y, x)`` centred on a place, north up and east left."""
        offset = -(np.arange(self.pixels) - (self.pixels - 1) / 2) * self.arcsec_per_pixel / 3600
        east, north = np.meshgrid(offset, offset)
        columns, rows = self._pixels(frame, *from_plane(east, north, (place["ra"], place["dec"])))
        height, width = frame.planes.shape[1:]
        inside = (columns >= -0.5) & (columns < width - 0.5) & (rows >= -0.5) & (rows < height - 0.5)
        if not inside.all():
            raise BadImageError(
                Status.OUTSIDE_FOOTPRINT,
                f"{band}: {1 - inside.mean():.0%} of the image is beyond the frame's edge",
            )
        row, column = np.rint([rows, columns]).astype(np.int64)
        return frame.planes[0][row, column]

    def _pixels(self, frame: FitsImage, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the column and row of positions [deg] in the frame, NaN where they can be on none."""
        matrix = np.array([[frame.number(f"CD{i}_{j}") for j in (1, 2)] for i in (1, 2)])
        scale = 3600 * np.sqrt(abs(np.linalg.det(matrix)))
        if abs(scale / self.arcsec_per_pixel - 1) > SCALE_TOLERANCE:
            raise BadImageError(
                Status.WRONG_HEADER, f"expected pixels of {self.arcsec_per_pixel} arcsec, found {scale:.4g}"
            )
        plane = np.stack(to_plane(ra, dec, (frame.number("CRVAL1"), frame.number("CRVAL2"))))
        across, along = np.tensordot(np.linalg.inv(matrix), plane, axes=1)
        return across + frame.number("CRPIX1") - 1, along + frame.number("CRPIX2") - 1


def unpacked(body: Body) -> bytes:
    """Return a file of bzip2 as it was before.

    Raises
    ------
    BadImageError
        If it is none, is cut off, or is too large.
    """
    if not body.content.startswith(b"BZh"):
        told = judge_words(*body)
        raise BadImageError(told.status, told.detail)
    machine = bz2.BZ2Decompressor()
    try:
        content = machine.decompress(body.content, LONGEST_FRAME)
    except OSError as error:
        raise BadImageError(Status.NOT_AN_IMAGE, f"damaged bzip2: {error}") from error
    if not machine.eof:
        length = len(body.content)
        status = Status.TRUNCATED if machine.needs_input else Status.TOO_LARGE
        raise BadImageError(status, f"no end of bzip2 in {length:,} bytes, {len(content):,} unpacked")
    return content


def _check_cards(frame: FitsImage, band: str, place: Place) -> None:
    """Refuse a frame of another band or field, of another unit, or whose WCS is no tangent plane."""
    expected = dict(zip(("RUN", "CAMCOL", "FRAME"), (place[name] for name in FRAME_COLUMNS), strict=True))
    wanted = {"FILTER": band, **expected, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    for key, value in wanted.items():
        if frame.cards.get(key) != value:
            raise BadImageError(
                Status.WRONG_HEADER, f"expected {key} {value!r}, found {frame.cards.get(key)!r}"
            )
    unit = frame.cards.get("BUNIT", "nanomaggy")
    if len(frame.planes) != 1 or not str(unit).lower().startswith("nanomagg"):
        raise BadImageError(
            Status.WRONG_HEADER, f"expected one plane in nanomaggies, found {len(frame.planes)} in {unit!r}"
        )
