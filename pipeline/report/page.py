"""Write the report of a run: one HTML file that needs nothing else."""

from pathlib import Path
from string import Template

from model.definitions import DETECTION, PIXELS, REDSHIFT, REGRESSION, kind_of
from model.files import write_durably
from pipeline.report import quality, work
from pipeline.report.alarms import alarms
from pipeline.report.errors import errors
from pipeline.report.facts import ReportFacts
from pipeline.report.fields import fields, pixels
from pipeline.report.galaxies import galaxies
from pipeline.report.gathering import read_products
from pipeline.report.markup import text
from pipeline.report.numbers import numbers
from pipeline.report.recalibration import recalibration
from pipeline.report.summary import source_name, summary

TEMPLATE = Path(__file__).with_name("page.html")
LINKS = {
    False: {"estimates": "Estimates", "pdfs": "PDFs", "galaxies": "Galaxies"},
    True: {"pixels": "Pixels", "fields": "Fields"},
}
"""Sections that hang on what was learnt: of objects, or of pixels."""
ESTIMATES = {REDSHIFT: quality.redshifts, REGRESSION: numbers, DETECTION: alarms}
"""The section on how good predictions are, by what was learnt."""


def write_report(facts: ReportFacts, out: Path) -> Path:
    """Write the report of a run and return its path.

    The file appears whole or not at all. Predictions and cubes are read in slices; memory is bounded whatever
    the number of galaxies, and what is missing is said in a sentence.

    Parameters
    ----------
    facts : ReportFacts
        What the ledger knows of the run, and the paths of its products.
    out : Path
        The HTML file; one that is there is replaced.
    """
    page = render(facts)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_durably(out, page.encode())
    return out


def render(facts: ReportFacts) -> str:
    """Return the whole page."""
    found = read_products(facts)
    is_of_pixels = kind_of(facts.run_file.target.definition) == PIXELS
    sections = (
        _of_pixels(facts)
        if is_of_pixels
        else (
            summary(facts, found.tallies),
            ESTIMATES.get(kind_of(facts.run_file.target.definition), quality.redshifts)(facts, found),
            quality.pdfs(facts, found),
            errors(facts),
            recalibration(facts),
            galaxies(facts, found),
            work.sky(facts),
            work.training(facts),
            work.throughput(facts),
            work.provenance(facts),
        )
    )
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=text(facts.run_file.name),
        source=text(source_name(facts)),
        made=text(facts.made.strftime("%Y-%m-%d %H:%M UTC")),
        version=text(facts.provenance.get("code", "")),
        body="\n".join(sections),
        links=" ".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in LINKS[is_of_pixels].items()),
    )


def _of_pixels(facts: ReportFacts) -> tuple[str, ...]:
    """Write the sections of a run that classifies fields."""
    return (
        summary(facts, {}),
        pixels(facts),
        fields(facts),
        work.sky(facts),
        work.training(facts),
        work.throughput(facts),
        work.provenance(facts),
    )
