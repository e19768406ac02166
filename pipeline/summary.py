"""The lines a user reads: how far a run is, and what came of it."""

import shutil
from collections import Counter
from collections.abc import Mapping
from typing import Any

from psycopg2.extensions import parse_dsn

from model.definitions import DETECTION, PIXELS, REGRESSION, kind_of
from pipeline.ledger import Ledger
from pipeline.lost import lost_blocks
from pipeline.report.facts import ReportFacts
from pipeline.stores.binaries import find_binaries
from schemas.errors import DatabaseError
from schemas.flags import Status
from schemas.records import Receipt

STAGES = (
    *("plan", "pull", "rows", "fetch", "pretrain", "search", "train"),
    *("calibrate", "infer", "scene", "classify", "sources", "publish", "report"),
)
OPTIONAL = {"pretrain", "search", "calibrate", "scene", "classify", "sources"}
"""Stages that a run may do without: they are listed only where they are used."""
WIDTH = max(map(len, STAGES))
"""Letters of the first word of a line of progress."""


def psql_program() -> str:
    """Return ``psql``, or where it lies beside the embedded server if it is not on the path."""
    if shutil.which("psql"):
        return "psql"
    try:
        return str(find_binaries().tool("psql"))
    except DatabaseError:  # no server here either: the user's own client it must be
        return "psql"


def psql_line(dsn: str, catalogue: str, *, program: str = "psql") -> str:
    """Return the shell line that opens a catalogue; it holds no password.

    Examples
    --------
    >>> psql_line("host=db.example.org dbname=sky password=secret", "photoz")
    'psql "dbname=sky host=db.example.org" -c "SELECT * FROM catalogue.photoz LIMIT 5"'
    """
    words = {key: value for key, value in parse_dsn(dsn).items() if key != "password"}
    plain = " ".join(f"{key}={_quoted(value)}" for key, value in words.items())
    return f'{program} "{plain}" -c "SELECT * FROM catalogue.{catalogue} LIMIT 5"'


def progress_lines(ledger: Ledger) -> list[str]:
    """Return a line a stage: units done of all, rows, what failed, and what ended how."""
    counts: dict[str, Counter[str]] = {}
    rows: Counter[str] = Counter()
    for entry in ledger.progress():
        counts.setdefault(entry.stage, Counter())[entry.state] += entry.count
        rows[entry.stage] += entry.rows
    said: list[tuple[str, str]] = []
    for stage in STAGES:
        states = counts.get(stage, Counter())
        if not states and (stage in OPTIONAL or (stage == "infer" and "classify" in counts)):
            continue
        others = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state != "done")
        words = f"{states['done']}/{sum(states.values())} units, {rows[stage]:,} rows"
        said.append((stage, words + (f" ({others})" if others else "") if states else "not begun"))
    said += [
        ("failed", f"{count:,} {sample}: {reason} ({'permanent' if permanent else 'retryable'})")
        for (sample, reason, permanent), count in sorted(ledger.failure_counts().items())
        if reason != Status.DUPLICATE.reason
    ]
    said += [
        ("twice", f"{twice:,} keys of {sample} came more than once; one row of each is kept")
        for sample, (_, receipt) in ledger.receipts("rows").items()
        if (twice := receipt.facts["duplicates"])
    ]
    trials = sorted(ledger.receipts("search").items())
    said += [("trial", _of_trial(key, receipt)) for key, (_, receipt) in trials]
    said += [("lost", f"{block.stage} {block.key}: {block.why}") for block in lost_blocks(ledger)]
    said += [
        ("error", f"{stage} {key}, attempt {attempt}: {text}")
        for stage, key, attempt, text in ledger.errors()
    ]
    return [f"{word:<{WIDTH}} {text}" for word, text in said]


def _of_trial(key: str, receipt: Receipt) -> str:
    """Return what became of a trial of the search."""
    tried = ", ".join(f"{name} {value}" for name, value in receipt.facts["trial"].items())
    loss = receipt.facts["val_loss"]
    found = (
        f"failed: {receipt.facts.get('error', 'its loss is not finite')}"
        if loss is None
        else f"val_loss {loss:.5g} in epoch {receipt.facts['best_epoch']} of {receipt.facts['epochs']}"
    )
    return f"{key.removeprefix('trial/')}: {tried}: {found}"


def closing_lines(facts: ReportFacts, *, report: str) -> list[str]:
    """Return what a run says when it has ended."""
    asked = sum(sample.asked for sample in facts.samples)
    twice = sum(sample.duplicates for sample in facts.samples)
    fetched = sum(sample.fetched for sample in facts.samples)
    lines = [
        f"asked      {asked:,} galaxies",
        f"fetched    {fetched:,}",
        f"failed     {asked - fetched:,}{_reasons(facts)}",
        *([f"duplicates {twice:,} keys came more than once; one row of each is kept"] if twice else []),
        _predicted(facts),
        f"published  {facts.published_rows:,} as catalogue.{facts.catalogue}, {facts.version_words}",
        f"quality    {_quality(facts.metrics)}",
        f"report     {report}",
        f"open it    {facts.psql}",
    ]
    return lines


def _reasons(facts: ReportFacts) -> str:
    counts: Counter[str] = Counter()
    for entry in facts.failure_counts:
        if entry.reason == Status.NOT_PREDICTED.reason:
            continue
        counts[f"{entry.reason}, {'permanent' if entry.permanent else 'retryable'}"] += entry.count
    return (
        f" ({'; '.join(f'{count:,} {reason}' for reason, count in counts.most_common())})" if counts else ""
    )


def _predicted(facts: ReportFacts) -> str:
    if facts.fields:
        found = sum(field.sources for field in facts.fields)
        return f"classified {len(facts.fields)} fields, {found:,} sources"
    return f"predicted  {sum(sample.predicted for sample in facts.samples):,}{_unpredicted(facts)}"


def _unpredicted(facts: ReportFacts) -> str:
    count = sum(entry.count for entry in facts.failure_counts if entry.reason == Status.NOT_PREDICTED.reason)
    return f" ({count:,} are not, whose workers died: “skymill retry”)" if count else ""


def _quality(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return "not measured: the test part is empty"
    kind = kind_of(metrics["definition"])
    words = {REGRESSION: _of_numbers, DETECTION: _of_alarms, PIXELS: _of_pixels}.get(kind, _of_redshifts)
    what = {PIXELS: "windows", DETECTION: "objects"}.get(kind, "galaxies")
    return f"{words(metrics)} on {metrics['n']:,} test {what} ({metrics['definition']}: {metrics['text']})"


def _of_pixels(metrics: Mapping[str, Any]) -> str:
    return f"{100 * metrics['accuracy']:.2f} % of the pixels right, IoU {_three(metrics['iou_0.5'])}"


def _of_redshifts(metrics: Mapping[str, Any]) -> str:
    return (
        f"σ_NMAD {metrics['sigma_nmad']:.5f}, bias {metrics['bias']:+.5f}, "
        f"outliers {100 * metrics['outlier_fraction']:.2f} %"
    )


def _of_numbers(metrics: Mapping[str, Any]) -> str:
    said = (
        f"{sign} {_three(metrics[name])}"
        for sign, name in (("r", "pearson"), ("ρ", "spearman"), ("R²", "r2"))
    )
    return f"{', '.join(said)}, MAE {metrics['mae']:.4g}, RMSE {metrics['rmse']:.4g}, bias {metrics['bias']:+.4g}"


def _of_alarms(metrics: Mapping[str, Any]) -> str:
    alarms = (
        f", true alarms {100 * alarm['true_alarm']:.1f} ± {100 * alarm['true_alarm_sigma']:.1f} % "
        f"at {100 * alarm['false_alarm']:g} % false ones"
        for alarm in metrics["alarms"]
    )
    counted = f"{metrics['n_signal']:,} with a signal and {metrics['n_noise']:,} without,"
    return f"area under ROC {_three(metrics['area'])}{''.join(alarms)}; {counted}"


def _three(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def _quoted(value: str) -> str:
    return (
        value
        if value and not set(value) & set(" '\\")
        else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    )
