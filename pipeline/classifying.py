"""Classifying fields: scenes are drawn, fields classified tile by tile, and sources found in them.

Three stages of a run whose network tells classes of pixels: `scene`, `classify` and `sources`, in the place of `infer`.
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.work import find
from model.windows import Windows
from pipeline.fields.classes import background_of, classes_of
from pipeline.fields.files import TRUTH, field_folder, files_digest
from pipeline.fields.layout import Finding, Layout
from pipeline.mill import Mill
from pipeline.stores.staging import Staging, clean
from pipeline.training import bundles_of
from pipeline.units import WORK, predicted_by
from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.records import Receipt, Unit

STAGES = ("scene", "classify", "sources")
_NAMED = 16
"""Characters of the digest that a folder is called by."""


def draw(mill: Mill) -> dict[str, Receipt]:
    """Draw the scenes among the fields; empty where there is none."""
    run_file = mill.run_file
    images = run_file.images
    units = []
    for name, field in run_file.fields.items():
        if field.scene:
            scene = {
                **field.model_dump(include={"scene", "shape", "spacing_pixels"}),
                "seed": int(digest_of({"run": run_file.seed, "field": field.seed})[:8], 16),
                "bands": list(images.bands),
                "arcsec_per_pixel": images.arcsec_per_pixel,
            }
            units.append(Unit("scene", name, digest_of(scene), scene))

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        return {
            **unit.arguments,
            "final": str(field_folder(run_file, unit.key) / "scene"),
            "staging": staging,
        }

    return _drive(mill, units, arguments, stage="scene")


def classify(mill: Mill, trained: Mapping[str, Receipt], scenes: Mapping[str, Receipt]) -> dict[str, Receipt]:
    """Classify every field, tile by tile, with the trained network or with all of an ensemble."""
    run_file = mill.run_file
    fields = {name: _Field(run_file, name, trained, scenes) for name in _classified(run_file)}
    units = [unit for field in fields.values() for unit in field.units()]

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        field = fields[unit.arguments["field"]]
        field.create_maps()
        return {
            "mosaic": field.mosaic,
            "layout": field.layout,
            "tile": unit.arguments["tile"],
            "bundles": bundles_of(trained),
            "passes": run_file.model.passes,
            "engine": run_file.model.engine,
            "maps": str(field.maps),
            "staging": staging,
        }

    return _drive(mill, units, arguments, stage="classify")


def find_sources(
    mill: Mill,
    trained: Mapping[str, Receipt],
    scenes: Mapping[str, Receipt],
    classified: Mapping[str, Receipt],
) -> dict[str, Receipt]:
    """Find the sources of every field in its maps."""
    run_file = mill.run_file
    fields = {name: _Field(run_file, name, trained, scenes) for name in _classified(run_file)}
    finding = _finding(run_file)
    units = [
        Unit("sources", f"{name}/sources", field.digest_of_sources(finding, classified), {"field": name})
        for name, field in fields.items()
    ]

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        field = fields[unit.arguments["field"]]
        truth = field_folder(run_file, field.name) / "scene" / TRUTH
        return {
            "mosaic": field.mosaic,
            "maps": str(field.maps),
            "finding": finding,
            "truth": str(truth) if field.name in scenes else None,
            "final": str(field_folder(run_file, field.name) / f"sources-{unit.inputs[:_NAMED]}"),
            "staging": staging,
        }

    found = _drive(mill, units, arguments, stage="sources")
    for field in fields.values():
        field.clean_others(found[f"{field.name}/sources"])
    return found


def fields_provenance(run_file: RunFile, scenes: Mapping[str, Receipt]) -> dict[str, object]:
    """Return what the rows of sources go back to beside the network: the classes that are sources, and the fields."""
    classes, background = classes_of(run_file), background_of(run_file)
    return {
        "classes": [name for name in classes if name != background],
        "fields": {
            name: scenes[name].digest if name in scenes else files_digest(run_file, name)
            for name in _classified(run_file)
        },
    }


def _drive(mill: Mill, units: list[Unit], arguments: Any, *, stage: str) -> dict[str, Receipt]:
    if not units:
        mill.ledger.drop_missing(stage, [])
        return {}
    return mill.drive(units, WORK[stage], arguments)


def _classified(run_file: RunFile) -> list[str]:
    return [name for name, field in run_file.fields.items() if field.classify]


def _finding(run_file: RunFile) -> Finding:
    maps = run_file.maps
    return Finding(
        classes=classes_of(run_file),
        background=background_of(run_file),
        vote=maps.votes[0],
        flux=maps.flux or run_file.images.bands[0],
        **maps.model_dump(include={"sure_source", "sure_background", "apart_pixels", "most_parts"}),
    )


class _Field:
    """A field on its way from pixels to sources."""

    def __init__(
        self, run_file: RunFile, name: str, trained: Mapping[str, Receipt], scenes: Mapping[str, Receipt]
    ) -> None:
        self.name, self._run_file = name, run_file
        self.mosaic: Any = find("pipeline.fields.opening:open_field")(run_file, name)
        height, width, _ = self.mosaic.shape
        maps = run_file.maps
        self._windows = Windows((height, width), run_file.images.pixels, maps.margin, maps.stride, maps.batch)
        content = scenes[name].digest if name in scenes else files_digest(run_file, name)
        self._made_from = {
            **predicted_by(run_file, trained),
            "field": content,
            "bands": list(run_file.images.bands),
            "classes": list(classes_of(run_file)),
            "pixels": run_file.images.pixels,
            **maps.model_dump(include={"stride", "margin", "batch", "tile"}),
            "votes": sorted(maps.votes),
        }
        self._digest = digest_of(self._made_from)[:_NAMED]

    @property
    def maps(self) -> Path:
        """The field's maps; their folder is called by all that decides them."""
        return field_folder(self._run_file, self.name) / f"maps-{self._digest}.zarr"

    @property
    def layout(self) -> Layout:
        """Windows, tiles, classes and votes."""
        maps = self._run_file.maps
        return Layout(self._windows, maps.tile, classes_of(self._run_file), tuple(sorted(maps.votes)))

    def units(self) -> list[Unit]:
        """Return one unit a tile."""
        tiles = self._windows.tiles(self._run_file.maps.tile)
        return [
            Unit(
                "classify",
                f"{self.name}/{number:05d}",
                digest_of({**self._made_from, "region": [tile.y0, tile.y1, tile.x0, tile.x1]}),
                {"field": self.name, "tile": tile},
            )
            for number, tile in enumerate(tiles)
        ]

    def create_maps(self) -> None:
        """Create the maps, unless they are there; half-made ones are never seen."""
        if self.maps.exists():
            return
        self.maps.parent.mkdir(parents=True, exist_ok=True)
        made = self.maps.with_name(f".{self.maps.name}-{secrets.token_hex(4)}")
        layout = self.layout
        find("pipeline.fields.results:create_results")(
            made, layout.windows, classes=layout.classes, kinds=layout.votes, tile=layout.tile
        )
        made.rename(self.maps)

    def digest_of_sources(self, finding: Finding, classified: Mapping[str, Receipt]) -> str:
        """Return the digest of all that decides the field's catalogue."""
        tiles = {key: one.digest for key, one in classified.items() if key.startswith(f"{self.name}/")}
        return digest_of({**self._made_from, "tiles": sorted(tiles.items()), "finding": asdict(finding)})

    def clean_others(self, found: Receipt) -> None:
        """Remove maps and sources that were made from something else."""
        kept = {self.maps, Path(found.products[0].final).parent}
        folder = field_folder(self._run_file, self.name)
        for path in [*folder.glob("maps-*.zarr"), *folder.glob("sources-*"), *folder.glob(".maps-*")]:
            if path not in kept:
                clean(path)
