"""The sections of the run file on fields: mosaics whose pixels are classified, and how."""

from typing import Annotated, Literal

from pydantic import Field as Key
from pydantic import model_validator

from schemas.section import ExpandedPath, Section

Scene = Literal["field", "lattice", "noise"]
"""What is drawn: a field as it comes by, sources on a lattice that do not touch, or nothing but noise."""


class Field(Section):
    """One field, ``[fields.NAME]``: a FITS file a band, or a scene that is drawn.

    ``labels`` are of one's own training pixels: one FITS file with the number of each pixel's class, from 0 in the
    order of the preset's ``head.classes`` (-1: not known), or a file a class with its probability (NaN: not known).
    ``blank`` says whether pixels that are not finite are refused, or skipped: no window that holds one has a vote.
    A scene has ``shape`` (rows, columns), and its seed besides the run's own.
    """

    bands: dict[str, ExpandedPath] = Key(default_factory=dict)
    labels: ExpandedPath | dict[str, ExpandedPath] | None = None
    arcsec_per_pixel: Annotated[float, Key(gt=0, le=60)] | None = None
    blank: Literal["refuse", "skip"] = "refuse"
    classify: bool = True
    scene: Scene | None = None
    shape: tuple[Annotated[int, Key(ge=8)], Annotated[int, Key(ge=8)]] = (512, 512)
    seed: Annotated[int, Key(ge=0, lt=2**32)] = 0
    spacing_pixels: Annotated[int, Key(ge=1)] = 40

    @model_validator(mode="after")
    def _is_either_files_or_a_scene(self) -> "Field":
        if bool(self.bands) == (self.scene is not None):
            raise ValueError(
                'expected either a FITS file for each band (bands = { H = "h.fits", … }) or a scene '
                f'(scene = "field"), found {"both" if self.bands else "neither"}'
            )
        if self.scene and self.labels is not None:
            raise ValueError('expected no labels of a scene: windows of images.source = "scenes" have them')
        return self


class Maps(Section):
    """How fields are classified: windows, votes, and what is made of them.

    ``margin`` pixels at each edge of a window have no vote; ``tile`` is the side of what one task works on [pixel].
    ``votes`` are ``rank`` (shares of windows), ``mean`` (mean and variance of probabilities), or both; the first one
    decides the catalogue. ``flux`` is the band in which sources are measured, the first one if it is empty.
    """

    stride: Annotated[int, Key(ge=1)] = 1
    margin: Annotated[int, Key(ge=0)] = 5
    tile: Annotated[int, Key(ge=16)] = 256
    batch: Annotated[int, Key(ge=1, le=4096)] = 64
    votes: Annotated[tuple[Literal["rank", "mean"], ...], Key(min_length=1, max_length=2)] = ("rank",)
    sure_source: Annotated[float, Key(ge=0, lt=1)] = 0.0
    sure_background: Annotated[float, Key(gt=0, le=1)] = 1.0
    apart_pixels: Annotated[int, Key(ge=1)] = 20
    most_parts: Annotated[int, Key(ge=1)] = 20
    flux: str = ""

    @model_validator(mode="after")
    def _has_thresholds_in_order(self) -> "Maps":
        if self.sure_source >= self.sure_background:
            raise ValueError(
                f"expected sure_source below sure_background, found {self.sure_source} and {self.sure_background}"
            )
        if len(set(self.votes)) < len(self.votes):
            raise ValueError(f"expected each vote once, found {', '.join(self.votes)}")
        return self
