"""What the verbs that turn the mill do; each takes parsed arguments and returns an exit code."""

import argparse
import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from cluster.logs import log_to_file
from cluster.submission import VARIABLE, Submission
from cluster.work import find
from pipeline import flow, summary
from pipeline.checks import check
from pipeline.database import dsn_of, leave_embedded
from pipeline.estimate import price_list
from pipeline.ledger import Ledger
from pipeline.looking import telling
from pipeline.mill import Mill
from pipeline.provenance import code_version, packages, resolved
from pipeline.report.facts import ReportFacts
from pipeline.stores.lock import locked
from pipeline.stores.staging import disk_errors
from pipeline.submitted import refuse_submitted
from pipeline.view import open_view
from schemas.config import RunFile
from schemas.errors import Busy, StoreError
from schemas.runfile import load_run_file
from schemas.sitefile import load_site


def run(args: argparse.Namespace) -> int:
    """Do what is left of a run; with ``--site`` its workers are jobs of that site."""
    if args.site:
        args.words = [*args.words, *site_words(args.site, args.nodes)]
    with open_mill(_read(args)) as mill:
        _finish(mill, flow.turn(mill))
    return 0


def plan(args: argparse.Namespace) -> int:
    """Count the samples, and say what the run will need; refuse what cannot fit.

    With ``--objects``, ``--site`` or no run file the answer is worked out from measured rates; the source is asked
    for counts only when ``--objects`` does not give them.
    """
    if args.objects is not None or args.site or not args.run_file:
        return int(find("pipeline.capacity:plan")(args))
    with open_mill(_read(args)) as mill:
        check(mill.run_file)
        needs = flow.needs(mill, flow.plan(mill))
        mill.view.say(price_list(mill.run_file, needs))
        needs.check(mill.run_file)
    return 0


def retry(args: argparse.Namespace) -> int:
    """Ask again for what failed and may succeed, then do what follows from it; where it was submitted, in jobs."""
    run_file = _read(args)
    if VARIABLE not in os.environ and Submission.of(run_file.folder).order:
        find("pipeline.submitting:resubmit")(run_file, verb="retry", path=args.run_file, words=args.words)
        return 0
    with open_mill(run_file) as mill:
        _forget_failures(mill)
        _finish(mill, flow.turn(mill))
    return 0


def _forget_failures(mill: Mill) -> None:
    """Have the blocks done again in which something failed and may succeed; once, where jobs come back to it."""
    mark = Path(os.environ[VARIABLE], "retried") if VARIABLE in os.environ else None
    if mark and mark.exists():
        return
    found = {stage: mill.ledger.retryable(stage) for stage in ("fetch", "infer")}
    blocks = sum(mill.ledger.reset(stage, units) for stage, units in found.items() if units)
    if mark:
        mark.touch()
    mill.view.say(
        f"asking again for the failed objects of {blocks} blocks"
        if blocks
        else "nothing to retry: no object failed for a reason that may pass"
    )


def verify(args: argparse.Namespace) -> int:
    """Re-read and re-hash every product; with ``--repair`` make again what is damaged."""
    with open_mill(_read(args)) as mill:
        damaged = find("pipeline.verify:damaged_units")(mill)
        count = sum(len(products) for products in damaged.values())
        if not damaged:
            mill.view.say("every product is as it was when it was accepted")
            return 0
        for unit, paths in damaged.items():
            for path in paths:
                mill.view.say(f"damaged: {unit.stage} {unit.key}: {path}")
        if not args.repair:
            raise StoreError(
                f"{count} damaged product(s) in {len(damaged)} unit(s)",
                f"run `skymill verify {args.run_file} --repair`",
            )
        find("pipeline.verify:forget")(mill, damaged)
        _finish(mill, flow.turn(mill))
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the report of a run again; what there is so far, while another driver works on it."""
    run_file = _read(args)
    try:
        with open_mill(run_file) as mill:
            mill.ledger.reset("report", [flow.REPORT])
            _finish(mill, flow.turn(mill))
    except Busy as busy:
        path = find("pipeline.looking:write_report_so_far")(run_file)
        if path is None:
            raise
        print(f"{busy.message}\nwhat there is so far: {path}")
    return 0


def site_words(name: str, nodes: int) -> list[str]:
    """Return the words of a run file that ``--site`` and ``--nodes`` of ``skymill run`` stand for."""
    site = load_site(name)
    if site.kind == "address":
        return [f"cluster.address={json.dumps(site.address)}"]
    return [f"cluster.site={json.dumps(name)}", f"cluster.nodes={nodes}"]


def _read(args: argparse.Namespace) -> RunFile:
    return load_run_file(Path(args.run_file), words=args.words)


@contextlib.contextmanager
def open_mill(run_file: RunFile) -> Iterator[Mill]:
    """Open a run, and keep it to this driver."""
    refuse_submitted(run_file)
    flow.make_folder(run_file)
    log = run_file.folder / "logs" / "driver.log"
    with disk_errors(log):
        log_to_file(log)
        log.touch()
    logging.getLogger(__name__).info("skymill %s", code_version())
    view = open_view()
    try:
        dsn = dsn_of(run_file, say=view.say)
        with Ledger.open(dsn, password_file=run_file.database.password_file) as ledger:
            provenance = {"code_version": code_version(), "packages": packages()}
            ledger.open_run(run_file.name, resolved(run_file), provenance=provenance, seed=run_file.seed)
            with (
                own_files(run_file),
                telling(run_file, dsn),
                Mill(run_file, dsn=dsn, ledger=ledger, view=view) as mill,
            ):
                yield mill
    finally:
        view.close()
        leave_embedded(run_file)


@contextlib.contextmanager
def own_files(run_file: RunFile) -> Iterator[None]:
    """Keep other drivers off the run's files: the ledger's lock ends at the database.

    Raises
    ------
    Busy
        If another driver has the folder of the run, or the cube of one of its samples.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(locked(run_file.folder / ".lock", what=f"the folder of run {run_file.name}"))
        if run_file.cube.path or run_file.cube_folder.exists():  # a new run folder has no other driver
            for sample in run_file.samples:
                path = run_file.cube_folder / f".lock-{sample}"
                held.enter_context(locked(path, what=f"the cube {run_file.cube_path(sample)}"))
        yield


def _finish(mill: Mill, facts: ReportFacts) -> None:
    if not mill.worked:
        mill.view.say(f"nothing to do: run {mill.run_file.name} is finished")
    for line in summary.closing_lines(facts, report=str(flow.report_path(mill))):
        mill.view.say(line)
