"""The Legacy Surveys' cutout service: FITS images of DR10 in g, r, i, z and of unWISE in W1, W2.

The protocol is that of the Sky Viewer (legacysurvey.org/svtips, and its code, github.com/legacysurvey/imagine):
``/viewer/fits-cutout?ra=&dec=&layer=&pixscale=&bands=&size=`` answers one image ``(band, y, x)`` of float32, first
row south, on a tangent plane centred on the position, with the cards ``BAND0``, ``BAND1`` … . A layer is one request.
Pixels are those of the layer, interpolated: their unit is that of a pixel of the layer's own size (0.262 arcsec;
unWISE 2.75 arcsec), nanomaggies of the AB system, and of the Vega system in unWISE. A size above 512 is cut down, bands
that a layer does not have are replaced by those it has, and what no exposure saw is 0: the header decides what came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.sources.fits_image import BadImageError, FitsImage, check_seen, nothing_seen, read_fits
from pipeline.sources.framing import turn
from pipeline.sources.images import Asking, Body, Place, asking_of
from pipeline.sources.stacking import stack
from pipeline.sources.verdicts import Verdict, digest_of
from schemas.config import RunFile
from schemas.flags import Status
from schemas.imaging import filters_of

LAYERS: Mapping[str, Mapping[str, str]] = {
    "ls-dr10": {"g": "g", "r": "r", "i": "i", "z": "z"},
    "unwise-neo7": {"W1": "1", "W2": "2"},
}
"""Layers of the service, and what each calls its filters."""


@dataclass(frozen=True)
class LegacySource(Asking):
    """The Legacy Surveys' cutout service; one request a layer."""

    url: str
    pixels: int
    arcsec_per_pixel: float
    bands: tuple[str, ...]

    @classmethod
    def of(cls, run: RunFile, url: str) -> "LegacySource":
        """Take the source from a run file; `url` is the server's real address."""
        images = run.images
        return cls(url, images.pixels, images.arcsec_per_pixel, images.bands, **asking_of(run))

    def addresses(self, place: Place) -> tuple[str, ...]:
        """Return the URLs of a row's images, one a layer.

        Examples
        --------
        >>> LegacySource("http://sky", 64, 0.262, ("g-r", "W1")).addresses({"ra": 10.5, "dec": -2.25})[1]
        'http://sky/viewer/fits-cutout?ra=10.5&dec=-2.25&layer=unwise-neo7&pixscale=0.262&bands=1&size=64'
        """
        where = f"ra={float(place['ra'])!r}&dec={float(place['dec'])!r}"
        base = f"{self.url.rstrip('/')}/viewer/fits-cutout?{where}"
        return tuple(
            f"{base}&layer={layer}&pixscale={self.arcsec_per_pixel!r}&bands={''.join(names.values())}"
            f"&size={self.pixels}"
            for layer, names in layers_of(self.bands).items()
        )

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Look at the images of a row's layers, and put its bands together."""
        images: dict[str, np.ndarray] = {}
        for number, (names, body) in enumerate(zip(layers_of(self.bands).values(), bodies, strict=True)):
            try:
                layer = self._images(read_fits(*body), names, place)
                if verdict := nothing_seen(layer, body.content, number):
                    return verdict
                for name, image in layer.items():
                    check_seen(image, name)
            except BadImageError as fault:
                return Verdict(fault.status, fault.detail, request=number)
            images |= layer
        pixels = stack(images, self.bands)
        return Verdict(Status.OK, pixels=pixels, digest=digest_of(body.content for body in bodies))

    def _images(self, found: FitsImage, names: Mapping[str, str], place: Place) -> dict[str, np.ndarray]:
        """Return the image of each filter, north up and east left; `names` is what the layer calls them."""
        planes = found.planes
        if planes.shape[1:] != (self.pixels, self.pixels):
            shape = "x".join(map(str, reversed(planes.shape[1:])))
            raise BadImageError(Status.WRONG_SIZE, f"expected {self.pixels}x{self.pixels}, found {shape}")
        served = _names(found)
        if missing := [ours for ours, name in names.items() if name not in served]:
            raise BadImageError(
                Status.WRONG_HEADER,
                f"expected the bands {''.join(names.values())}, found {''.join(served)}: no {', '.join(missing)}",
            )
        _check_unit(found)
        order = turn(
            found,
            place,
            pixels=self.pixels,
            arcsec_per_pixel=self.arcsec_per_pixel,
            linear=tuple(found.number(key) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")),
        )
        turned = planes[(slice(None), *order)]
        return {ours: turned[served.index(name)] for ours, name in names.items()}


def layers_of(bands: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the layers that bands need, and in each the names of their filters, ours and the service's.

    Examples
    --------
    >>> layers_of(["W1", "g-r"])
    {'ls-dr10': {'g': 'g', 'r': 'r'}, 'unwise-neo7': {'W1': '1'}}
    """
    filters = filters_of(bands)
    found = {
        layer: {name: names[name] for name in filters if name in names} for layer, names in LAYERS.items()
    }
    return {layer: names for layer, names in found.items() if names}


def _names(found: FitsImage) -> list[str]:
    """Return the names of the planes, as the header has them in two ways, and refuse if it contradicts itself."""
    cards, planes = found.cards, found.planes
    joined = str(cards.get("BANDS", ""))
    names = [str(cards.get(f"BAND{k}", joined[k : k + 1])) for k in range(len(planes))]
    sizes = [cards.get("IMAGEW", planes.shape[2]), cards.get("IMAGEH", planes.shape[1])]
    if "".join(names) != (joined or "".join(names)) or not all(names) or f"BAND{len(planes)}" in cards:
        raise BadImageError(
            Status.WRONG_HEADER,
            f"the image has {len(planes)} planes, its header the bands {joined!r} ({', '.join(names)} …)",
        )
    if sizes != [planes.shape[2], planes.shape[1]]:
        raise BadImageError(
            Status.WRONG_HEADER,
            f"the header says {sizes[0]}x{sizes[1]}, the image is {planes.shape[2]}x{planes.shape[1]}",
        )
    return [name.lower().removeprefix("w") for name in names]


def _check_unit(found: FitsImage) -> None:
    unit = found.cards.get("BUNIT", "nanomaggy")
    if not str(unit).lower().startswith(("nanomagg", "nmgy")):
        raise BadImageError(Status.WRONG_HEADER, f"expected nanomaggies, found the unit {unit!r}")
