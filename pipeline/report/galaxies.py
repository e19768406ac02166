"""The pictures of the report: the best, the worst and some random test galaxies."""

import numpy as np

from model.definitions import DETECTION, REDSHIFT, REGRESSION, errors_of, kind_of
from pipeline.report.cubes import open_cube
from pipeline.report.facts import ReportFacts
from pipeline.report.gathering import Gathered
from pipeline.report.markup import Raw, decimal, grid, section, sentence, significant, text
from pipeline.report.pictures import picture, shown_bands
from pipeline.report.predictions import Cloud
from schemas.arrays import SIGMA
from schemas.images import Images
from schemas.imaging import EMRI_STEP_S

MOSAIC = 12
"""Galaxies a mosaic."""
_BY = {
    REDSHIFT: "|\u2060Δ\u2060|",
    REGRESSION: "|prediction − label|",
    DETECTION: "|probability − label|",
}
_CARD = {
    REDSHIFT: ("<i>z</i><sub>spec</sub>", "<i>z</i><sub>phot</sub>"),
    REGRESSION: ("label", "prediction"),
    DETECTION: ("label", "probability"),
}


def galaxies(facts: ReportFacts, found: Gathered) -> Raw:
    """Write the section with cutouts of the best, the worst and some random test galaxies."""
    cloud, title = found.cloud, "Galaxies"
    if not len(cloud):
        return section(
            "galaxies", title, sentence("There are no test galaxies with a label to show.", quiet=True)
        )
    if not facts.run_file.images.bands:
        return section("galaxies", title, sentence("This run has no images to show.", quiet=True))
    definition = facts.run_file.target.definition
    order = np.argsort(np.abs(errors_of(definition, cloud.z_spec, cloud.z_phot)), kind="stable")
    chosen = np.random.default_rng(facts.run_file.seed).permutation(len(cloud))
    rows = (("Best", order), ("Worst", order[::-1]), ("Random", chosen))
    cubes = [open_cube(sample.cube) for sample in facts.samples]
    mosaics = []
    for name, indices in rows:
        cards: list[str] = []
        for i in indices[: 2 * MOSAIC]:  # a cutout may be missing: look a little further
            cube = cubes[int(cloud.sample[i])]
            uri = picture(cube, int(cloud.row[i])) if cube is not None and len(cards) < MOSAIC else None
            if uri:
                cards.append(_card(uri, cloud, int(i), definition))
        if not cards:
            return section(
                "galaxies", title, sentence("The cube with the cutouts is not there any more.", quiet=True)
            )
        mosaics.append(f"<h3>{name}</h3>{grid(cards, kind='mosaic')}")
    images = facts.run_file.images
    told = f"{_shown(images)} Best and worst are by {_BY[kind_of(definition)]}."
    return section("galaxies", title, sentence(told), *mosaics)


def _shown(images: Images) -> str:
    """Say what the pictures show."""
    if images.unit == SIGMA:
        return (
            f"Spectrograms of the signals without noise, black where there is none: {images.pixels:,} samples of "
            f"{EMRI_STEP_S:g} s from left to right, up to {500 / EMRI_STEP_S:.1f} mHz from bottom to top, both "
            "channels."
        )
    side = f"{images.pixels * images.stored_step:.3g}"
    size = f"{side} {images.scale_column}" if images.scale_column else f"{side}″"
    return f"Cutouts are {size} wide, north up, {_colours(shown_bands(images.unit, images.bands))}."


def _colours(bands: tuple[str, ...]) -> str:
    return f"bands {', '.join(bands)} as red, green, blue" if len(bands) > 1 else f"band {bands[0]} in grey"


def _card(uri: str, cloud: Cloud, i: int, definition: str) -> str:
    kind, name = kind_of(definition), int(cloud.id[i])
    number = significant if kind == REGRESSION else decimal
    true = (decimal if kind == REDSHIFT else significant)(cloud.z_spec[i])
    estimate = number(cloud.z_phot[i])
    words = _CARD[kind]
    return (
        f'<figure class="galaxy"><img src="{uri}" alt="cutout of galaxy {name}">'
        f"<figcaption><span>{words[0]} {text(true)}</span><span>{words[1]} {text(estimate)}</span>"
        f'<span class="id">{name}</span></figcaption></figure>'
    )
