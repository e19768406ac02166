"""The pictures of the report: the best, the worst and some random test galaxies."""

import numpy as np

from pipeline.report.cubes import open_cube, picture
from pipeline.report.facts import ReportFacts
from pipeline.report.gathering import Gathered
from pipeline.report.markup import Raw, decimal, grid, section, sentence, text
from pipeline.report.predictions import Cloud

MOSAIC = 12
"""Galaxies a mosaic."""


def galaxies(facts: ReportFacts, found: Gathered) -> Raw:
    """Write the section with cutouts of the best, the worst and some random test galaxies."""
    cloud, title = found.cloud, "Galaxies"
    if not len(cloud):
        return section(
            "galaxies", title, sentence("There are no test galaxies with a label to show.", quiet=True)
        )
    order = np.argsort(np.abs(cloud.delta), kind="stable")
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
                cards.append(_card(uri, cloud, int(i)))
        if not cards:
            return section(
                "galaxies", title, sentence("The cube with the cutouts is not there any more.", quiet=True)
            )
        mosaics.append(f"<h3>{name}</h3>{grid(cards, kind='mosaic')}")
    images = facts.run_file.images
    size = f"{images.pixels * images.arcsec_per_pixel:.3g}″"
    told = (
        f"Cutouts are {size} wide, north up, bands {', '.join(images.bands)} as red, green, blue. "
        "Best and worst are by |\u2060Δ\u2060|."
    )
    return section("galaxies", title, sentence(told), *mosaics)


def _card(uri: str, cloud: Cloud, i: int) -> str:
    true, estimate = decimal(cloud.z_spec[i]), decimal(cloud.z_phot[i])
    name = int(cloud.id[i])
    return (
        f'<figure class="galaxy"><img src="{uri}" alt="cutout of galaxy {name}">'
        f"<figcaption><span><i>z</i><sub>spec</sub> {text(true)}</span>"
        f"<span><i>z</i><sub>phot</sub> {text(estimate)}</span>"
        f'<span class="id">{name}</span></figcaption></figure>'
    )
