"""Geometry: what the images of a cube are, and what those must be that a preset is for. No Zarr, no Keras."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Geometry:
    """What an image of the cube is; a bundle can only be used on cubes of its own geometry.

    ``shape`` is an image's without its bands, as ``(y, x)`` or ``(sample,)``; ``arcsec_per_pixel`` is 0 where the
    scale differs from row to row. ``unit`` is that of a pixel.
    """

    shape: tuple[int, ...]
    bands: tuple[str, ...]
    arcsec_per_pixel: float
    dtype: str = "uint8"
    unit: str = "level"

    @property
    def is_signal(self) -> bool:
        """Whether an image is a row of samples, and not of two sides."""
        return len(self.shape) == 1

    @property
    def whole(self) -> tuple[int, ...]:
        """The shape of an image with its bands."""
        return (*self.shape, len(self.bands))

    def as_dict(self) -> dict[str, Any]:
        """Return the geometry as JSON-able values."""
        return {**asdict(self), "shape": list(self.shape), "bands": list(self.bands)}


def geometry_from_dict(values: dict[str, Any]) -> Geometry:
    """Return the geometry `Geometry.as_dict` described."""
    known = {"shape": tuple(map(int, values["shape"])), "bands": tuple(values["bands"])}
    return Geometry(**{**values, **known})
