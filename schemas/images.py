"""The section ``[images]`` of the run file."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from schemas import imaging
from schemas.arrays import COUNT, LEVEL, NANOMAGGY, SIGMA
from schemas.section import Section


class Images(Section):
    """The images: square, centred on the object.

    ``url`` is the server of images that are not the catalogue server's own JPEGs; empty means the sandbox where
    ``source.url`` is "sandbox", else the survey's own. What ``bands`` may hold is told by `schemas.imaging`.
    With a ``scale_column`` of the sample [arcsec], ``arcsec_per_pixel`` is in units of it: the scale follows the row.
    Pictures of ``asked_pixels`` are asked for where that is set, and reduced to ``pixels`` by means of areas;
    ``arcsec_per_pixel`` is then that of the pixels asked for.
    Those of the source "emri" are signals: ``pixels`` counts the samples of each of their two ``bands``.
    The source "none" has no bands; what is said of how images look is then as if it were not said.
    """

    source: Literal[
        "sdss-jpeg", "legacy-fits", "sdss-frames", "csst-fits", "scenes", "mosaic", "emri", "none"
    ] = "sdss-jpeg"
    url: str = ""
    pixels: Annotated[int, Field(ge=8)] = 64
    arcsec_per_pixel: Annotated[float, Field(gt=0, le=60)] = 0.396
    bands: tuple[str, ...] = ("i", "r", "g")
    asked_pixels: int | None = None
    scale_column: str = ""
    max_bytes: Annotated[int, Field(gt=0)] = 8_000_000

    @model_validator(mode="before")
    @classmethod
    def _are_whole_signals_where_nothing_is_said(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("source") != imaging.EMRI:
            return data
        return {"pixels": imaging.EMRI_SAMPLES, "bands": imaging.EMRI_BANDS, **data}

    @model_validator(mode="before")
    @classmethod
    def _have_no_looks_where_there_are_none(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("source") != imaging.NONE:
            return data
        return {key: value for key, value in data.items() if key not in imaging.LOOKS} | {"bands": ()}

    @field_validator("url", "pixels", "arcsec_per_pixel", "bands")
    @classmethod
    def _suits_the_source(cls, value: Any, info: ValidationInfo) -> Any:
        if fault := imaging.FAULTS[str(info.field_name)](info.data.get("source", imaging.JPEG), value):
            raise ValueError(fault)
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image without its bands: ``(y, x)``, or ``(sample,)`` of a signal."""
        return (self.pixels,) if self.source == imaging.EMRI else (self.pixels, self.pixels)

    @property
    def scale_arcsec(self) -> float:
        """The side of a pixel of the cube [arcsec], 0 where it has none, or each object its own."""
        return 0.0 if self.source == imaging.EMRI or self.scale_column else self.stored_step

    @property
    def stored_step(self) -> float:
        """The side of a pixel of the cube [arcsec], or in units of ``scale_column``."""
        if self.asked_pixels is None:
            return self.arcsec_per_pixel
        return self.arcsec_per_pixel * self.asked_pixels / self.pixels

    @property
    def dtype(self) -> Literal["uint8", "float32"]:
        """The type of a pixel: levels of a JPEG, or fluxes."""
        return "uint8" if self.source == imaging.JPEG else "float32"

    @property
    def unit(self) -> str:
        """The unit of a pixel, as a cube says it."""
        if self.source == imaging.EMRI:
            return SIGMA
        if self.source in (imaging.CSST, *imaging.LOCAL):
            return COUNT
        return LEVEL if self.source == imaging.JPEG else NANOMAGGY
