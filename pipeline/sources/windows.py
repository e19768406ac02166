"""Windows with labels of their pixels as sources of images: no server has them, the workers draw or read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.work import find
from model.windows import Region
from pipeline.fields.classes import classes_of
from pipeline.sources.images import Asking, Body, Place, asking_of
from pipeline.sources.verdicts import Verdict, digest_of
from schemas.config import RunFile
from schemas.flags import Status
from schemas.imaging import MOSAIC, NEEDED_COLUMNS, SCENES

SCENE_SEED = 1998
"""Seed of the scenes that are learnt from, that of the default sky: a window is a function of it and of its number."""


@dataclass(frozen=True)
class _WindowSource(Asking):
    url: str = ""

    @property
    def is_local(self) -> bool:
        """No server is asked."""
        return True

    def addresses(self, place: Place) -> tuple[str, ...]:
        """Return nothing: there is nothing to ask for."""
        return ()


@dataclass(frozen=True)
class SceneSource(_WindowSource):
    """What draws windows of scenes, seen in the run's bands, with the labels of its classes."""

    pixels: int = 40
    bands: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: RunFile, url: str) -> "SceneSource":
        """Take it from the run file."""
        images = run.images
        return cls(
            url=url, pixels=images.pixels, bands=images.bands, classes=classes_of(run), **asking_of(run)
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The number of a window."""
        return NEEDED_COLUMNS[SCENES]

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Draw a row's window and its labels."""
        number = int(place["number"])
        draw = find("pipeline.sandbox.scene_windows:draw_window")
        image, labels = draw(
            number, seed=SCENE_SEED, side=self.pixels, bands=self.bands, classes=self.classes
        )
        return _verdict(image, labels)


@dataclass(frozen=True)
class MosaicSource(_WindowSource):
    """What cuts windows out of the run's own mosaics, with their labels."""

    run: RunFile | None = None

    @classmethod
    def of(cls, run: RunFile, url: str) -> "MosaicSource":
        """Take it from the run file."""
        return cls(url=url, run=run, **asking_of(run))

    @property
    def columns(self) -> tuple[str, ...]:
        """The field of a window, and where it begins [pixel]."""
        return NEEDED_COLUMNS[MOSAIC]

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Cut out a row's window and its labels, or say why there is none.

        Raises
        ------
        StoreError
            If a file cannot be read: that is no fault of the row.
        """
        assert self.run is not None
        number, y, x = (int(place[name]) for name in self.columns)
        side, names = self.run.images.pixels, list(self.run.fields)
        if not 0 <= number < len(names):
            return Verdict(Status.BAD_POSITION, f"there is no field number {number}")
        region = Region(y, y + side, x, x + side)
        opened = find("pipeline.fields.opening:open_both")(self.run, names[number])
        cut = [np.asarray(one[region.slices], np.float32) for one in opened]
        if any(one.shape[:2] != (side, side) for one in cut):
            return Verdict(Status.BAD_POSITION, f"no window of {side} pixels begins at y = {y}, x = {x}")
        if not all(np.isfinite(one).all() for one in cut):
            return Verdict(Status.BLANK, "pixels or labels of the window are not known")
        return _verdict(*cut)


def _verdict(image: Any, labels: Any) -> Verdict:
    digest = digest_of(np.ascontiguousarray(one).data for one in (image, labels))
    return Verdict(Status.OK, pixels=image, digest=digest, target=labels)
