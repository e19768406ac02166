"""What a cube is: geometry and origin, taken from a run file, and what it says of itself."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.fields.classes import classes_of
from schemas.arrays import LEVEL
from schemas.config import RunFile
from schemas.imaging import JPEG, MADE_FROM, MOSAIC, SCENES


@dataclass(frozen=True)
class CubeSpec:
    """Geometry and origin of a cube; lengths in rows and pixels.

    ``url`` is that of the run file, and ``sky`` that of the sandbox where ``url`` is "sandbox", else "". Where the
    images are not the catalogue server's JPEGs, ``images`` says of which source they are, and of which server; it says
    so, too, if they are such JPEGs made smaller. Where ``arcsec_per_pixel`` is 0 because each row has its own scale, a
    pixel is ``scale_step`` times the column ``scale_column`` [arcsec]. ``classes`` are those of pixels, if any.
    """

    sample: str
    pixels: int
    arcsec_per_pixel: float
    bands: tuple[str, ...]
    rows_per_block: int
    rows_per_chunk: int
    release: int
    url: str
    label: str
    sky: str = ""
    unit: str = LEVEL
    images: str = ""
    scale_column: str = ""
    scale_step: float = 0.0
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: RunFile, sample: str) -> "CubeSpec":
        """Take a sample's cube from the run file."""
        images, cube = run.images, run.cube
        return cls(
            sample,
            images.pixels,
            images.scale_arcsec,
            images.bands,
            cube.rows_per_block,
            cube.rows_per_chunk,
            run.source.release,
            run.source.url.rstrip("/"),
            run.target.column,
            run.sandbox.sky if run.source.url == "sandbox" else "",
            images.unit,
            _origin(run),
            images.scale_column,
            images.stored_step if images.scale_column else 0.0,
            classes_of(run) if images.source in (SCENES, MOSAIC) else (),
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """What the cube says of itself."""
        said = asdict(self) | {"bands": list(self.bands), "classes": list(self.classes)}
        return {
            key: value
            for key, value in said.items()
            if (self.scale_column or not key.startswith("scale_")) and (self.classes or key != "classes")
        }

    @property
    def made_from(self) -> tuple[str, ...]:
        """Columns of the sample that decide the pixels, beside id and position."""
        return (*MADE_FROM.get(self.images.split(" ")[0], ()), *filter(None, [self.scale_column]))

    @property
    def geometry(self) -> dict[str, Any]:
        """What an existing cube must agree with: all but the label, which is written again."""
        return {key: value for key, value in self.attributes.items() if key != "label"}


def _origin(run: RunFile) -> str:
    images = run.images
    if images.source != JPEG:
        return f"{images.source} {run.image_server.rstrip('/')}"
    return f"{images.source} of {images.asked_pixels} pixels" if images.asked_pixels else ""
