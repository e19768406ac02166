"""How a field is classified and how its sources are found: small values that travel to the workers."""

from dataclasses import dataclass

from model.windows import Windows


@dataclass(frozen=True)
class Layout:
    """How a field is classified: its windows, its tiles' side [pixel], the classes, and the kinds of votes."""

    windows: Windows
    tile: int
    classes: tuple[str, ...]
    votes: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """What is made of a field's maps.

    ``classes`` with the ``background`` among them, ``vote`` (``rank`` or ``mean``) that decides, the band ``flux`` in
    which sources are measured, and the thresholds of `pipeline.fields.segmap`.
    """

    classes: tuple[str, ...]
    background: str
    vote: str
    flux: str
    sure_source: float
    sure_background: float
    apart_pixels: int
    most_parts: int

    @property
    def sources(self) -> tuple[str, ...]:
        """The classes that are sources."""
        return tuple(name for name in self.classes if name != self.background)
