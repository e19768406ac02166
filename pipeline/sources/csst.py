"""Images of the CSST mock: seven bands in one FITS file, as the sandbox serves them.

No survey has such a service yet; this protocol is decided here: ``/csst/fits-cutout?ra=&dec=&pixscale=&size=`` answers
one image ``(band, y, x)`` of float32 in counts, background subtracted, on a tangent plane centred on the position, with
the cards ``BAND1``, ``BAND2`` … and ``BUNIT``. The header decides which band is which. Pixels are stored as they are:
Zhou et al. (2022) do not normalise them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.sources.fits_image import BadImageError, FitsImage, check_seen, nothing_seen, read_fits
from pipeline.sources.framing import turn
from pipeline.sources.images import Asking, Body, Place, asking_of
from pipeline.sources.stacking import stack
from pipeline.sources.verdicts import Verdict, digest_of
from schemas.arrays import COUNT
from schemas.config import RunFile
from schemas.flags import Status
from schemas.imaging import filters_of


@dataclass(frozen=True)
class CsstSource(Asking):
    """A server of images of the CSST mock; one request a row."""

    url: str
    pixels: int
    arcsec_per_pixel: float
    bands: tuple[str, ...]

    @classmethod
    def of(cls, run: RunFile, url: str) -> "CsstSource":
        """Take the source from a run file; `url` is the server's real address."""
        images = run.images
        return cls(url, images.pixels, images.arcsec_per_pixel, images.bands, **asking_of(run))

    def addresses(self, place: Place) -> tuple[str, ...]:
        """Return the URL of a row's one image.

        Examples
        --------
        >>> CsstSource("http://sky", 32, 0.075, ("g",)).addresses({"ra": 150.5, "dec": 2.25})
        ('http://sky/csst/fits-cutout?ra=150.5&dec=2.25&pixscale=0.075&size=32',)
        """
        where = f"ra={float(place['ra'])!r}&dec={float(place['dec'])!r}"
        how = f"pixscale={self.arcsec_per_pixel!r}&size={self.pixels}"
        return (f"{self.url.rstrip('/')}/csst/fits-cutout?{where}&{how}",)

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Look at a row's image, and put its bands in the order of the cube."""
        body = bodies[0]
        try:
            images = self._images(read_fits(*body), place)
            if verdict := nothing_seen(images, body.content, 0):
                return verdict
            for name, image in images.items():
                check_seen(image, name)
        except BadImageError as fault:
            return Verdict(fault.status, fault.detail, request=0)
        return Verdict(Status.OK, pixels=stack(images, self.bands), digest=digest_of([body.content]))

    def _images(self, found: FitsImage, place: Place) -> dict[str, np.ndarray]:
        """Return the image of each filter that the bands are made of, north up and east left."""
        planes = found.planes
        if planes.shape[1:] != (self.pixels, self.pixels):
            shape = "x".join(map(str, reversed(planes.shape[1:])))
            raise BadImageError(Status.WRONG_SIZE, f"expected {self.pixels}x{self.pixels}, found {shape}")
        served = _names(found)
        if missing := [name for name in filters_of(self.bands) if name not in served]:
            raise BadImageError(
                Status.WRONG_HEADER, f"expected the band {', '.join(missing)} too, found {', '.join(served)}"
            )
        if (unit := found.cards.get("BUNIT")) != COUNT:
            raise BadImageError(Status.WRONG_HEADER, f"expected pixels in {COUNT}, found the unit {unit!r}")
        order = turn(
            found,
            place,
            pixels=self.pixels,
            arcsec_per_pixel=self.arcsec_per_pixel,
            linear=(found.number("CDELT1"), 0.0, 0.0, found.number("CDELT2")),
        )
        turned = planes[(slice(None), *order)]
        return {name: turned[served.index(name)] for name in filters_of(self.bands)}


def _names(found: FitsImage) -> list[str]:
    """Return the names of the planes, and refuse a header that has others than there are planes."""
    cards, count = found.cards, len(found.planes)
    names = [cards.get(f"BAND{k}") for k in range(1, count + 1)]
    known = [name for name in names if isinstance(name, str) and name]
    if len(known) < count or len(set(known)) < count or f"BAND{count + 1}" in cards:
        named = ", ".join(str(value) for key, value in cards.items() if key.startswith("BAND"))
        raise BadImageError(
            Status.WRONG_HEADER, f"the image has {count} planes, its header the bands {named or 'none'}"
        )
    if turned := [key for key in ("CD1_1", "PC1_2", "PC2_1", "CROTA2") if cards.get(key)]:
        raise BadImageError(
            Status.WRONG_HEADER, f"expected CDELT1 and CDELT2 alone, found {', '.join(turned)}"
        )
    return known
