"""Submit a run to the batch scheduler of a site.

What was submitted is what runs: the run file is kept as it was resolved, with environment and words, in the folder of
the submission, and the driver's job reads that copy. Its paths, the relative ones too, mean what they mean here, since
the job works in the folder from which it was submitted.
"""

import argparse
import contextlib
import json
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import tomli_w

from cluster.jobs.asking import DRIVER, driver_job, python_of, worker_job
from cluster.sites.batch import Batch, Job, batch_of
from cluster.submission import Asked, End, Order, Submission
from pipeline.database import give_away
from pipeline.provenance import code_version
from pipeline.site_fit import SHARED_NOT_NEEDED
from pipeline.stores.lock import locked
from pipeline.stores.staging import disk_errors
from pipeline.submission_checks import counts_of, faults_of, load_both, notes_of, raise_all
from pipeline.submitted import make_way, name_of, refuse_submitted
from pipeline.units import WORK
from schemas.config import RunFile
from schemas.errors import SiteError
from schemas.runfile import load_run_file
from schemas.site import Site

RUN_COPY = "run.toml"
"""The resolved run file, in the folder of the submission."""


def submit(args: argparse.Namespace) -> int:
    """Have a run done by the batch jobs of a site."""
    run_file, site = load_both(
        Path(args.run_file), args.site, words=args.words, nodes=args.nodes, ask=not args.only_print
    )
    order = order_of(run_file, site, nodes=args.nodes, verb="run")
    if not args.only_print:
        hand_over_database(run_file, site)
    submission = hand_in(order, only_print=args.only_print, files={RUN_COPY: copy_of(run_file)})
    if not args.only_print:
        for line in [
            *done_lines(submission, order, shlex.join([args.run_file, *args.words])),
            *notes_of(run_file, site),
        ]:
            print(line)
    return 0


def resubmit(run_file: RunFile, *, verb: str, path: str, words: Sequence[str] = ()) -> None:
    """Submit a run whose submission is over once more, to the same site and nodes, for another verb.

    Without words it is the run as it was submitted, whatever has become of `path` since.

    Raises
    ------
    Busy
        If the submission is not over.
    """
    submission = Submission.of(run_file.folder)
    before = submission.order
    assert before is not None
    if not words and (kept := submission.path / RUN_COPY).exists():
        run_file = load_run_file(kept, environ={})
    refuse_submitted(run_file)
    raise_all(faults_of(run_file, before.site, before.nodes))
    order = replace(order_of(run_file, before.site, nodes=1, verb=verb), nodes=before.nodes)
    hand_over_database(run_file, before.site)
    submission = hand_in(order, only_print=False, files={RUN_COPY: copy_of(run_file)})
    for line in done_lines(submission, order, shlex.join([path, *words])):
        print(line)


def hand_in(order: Order, *, only_print: bool, files: Mapping[str, str] | None = None) -> Submission:
    """Hand in the jobs of an order: one for the driver, and an array a pool for the workers.

    Parameters
    ----------
    order : Order
        What is asked for; ``order.run`` is the folder of the run.
    only_print : bool
        Print the scripts, and touch nothing.
    files : mapping, optional
        Texts that are to lie in the folder of the submission, by name.

    Raises
    ------
    Busy
        If jobs of a submission of this run are still there.
    SiteError
        If the scheduler refuses; nothing is left behind then.
    """
    submission = Submission.of(Path(order.run))
    batch = batch_of(order.site)
    jobs = jobs_of(order, submission)
    scripts = {pool: batch.script(job) for pool, job in jobs.items()}
    if only_print:
        for pool, text in scripts.items():
            print(f"#---- {pool}: {jobs[pool].count} x {submission.script(pool)}")
            print(text)
        return submission
    with _alone(submission.path.parent):
        make_way(submission)
        with disk_errors(submission.path), _undone_on_failure(submission, batch):
            submission.logs.mkdir(parents=True)
            submission.write_order(replace(order, code_version=code_version(), at=time.time()))
            for name, text in (files or {}).items():
                (submission.path / name).write_text(text, encoding="utf-8")
            for pool, text in scripts.items():
                submission.script(pool).write_text(text, encoding="utf-8")
            for pool, job in jobs.items():
                found = batch.submit(submission.script(pool), job)
                submission.add_job(Asked(found, pool, job.count, time.time()))
    return submission


def hand_over_database(run_file: RunFile, site: Site) -> None:
    """Stop the embedded server of this machine where a job on another is to start it."""
    if site.kind not in SHARED_NOT_NEEDED and give_away(run_file):
        print("stopped the embedded database on this machine: the driver's job starts it on its own")


def order_of(run_file: RunFile, site: Site, *, nodes: int, verb: str) -> Order:
    """Return the order that has a verb done with a run file that is kept with the submission."""
    kept = Submission.of(run_file.folder).path / RUN_COPY
    words = [f"cluster.address={json.dumps(site.address)}", "cluster.pooled=false"] if site.address else []
    return Order(
        run=str(run_file.folder),
        argv=(*command_of(site), verb, str(kept), *words),
        folder=str(Path.cwd()),
        site=site,
        nodes=counts_of(site, nodes),
        work=WORK,
    )


def command_of(site: Site) -> tuple[str, ...]:
    """Return the words that start skymill in a site's jobs."""
    return (*python_of(site), "-m", "pipeline.cli")


def copy_of(run_file: RunFile) -> str:
    """Return a run file, defaults and overrides included, as TOML."""
    return tomli_w.dumps(run_file.model_dump(mode="json", by_alias=True, exclude_none=True))


def jobs_of(order: Order, submission: Submission) -> dict[str, Job]:
    """Return the jobs of an order, by pool; the driver's is the first."""
    wanted = {pool: count for pool, count in order.nodes.items() if count}
    workers = {pool: worker_job(order, submission, pool, count) for pool, count in wanted.items()}
    return {DRIVER: driver_job(order, submission), **workers}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a driver of this machine, and another submit, out; leave no folder behind where there was none."""
    was_there = folder.exists()
    locks = folder / ".lock", folder / ".lock-submission"
    try:
        with locked(locks[0], what=f"the folder of run {folder.name}"):
            pass
        with locked(locks[1], what=f"the submission of run {folder.name}"):
            try:
                yield
            except BaseException:
                if not was_there:
                    for lock in locks:
                        lock.unlink(missing_ok=True)
                raise
    finally:
        with contextlib.suppress(OSError):  # what is in use is not empty
            folder.rmdir()


@contextlib.contextmanager
def _undone_on_failure(submission: Submission, batch: Batch) -> Iterator[None]:
    """Cancel what was handed in, and remove the folder, if not all could be handed in."""
    try:
        yield
    except BaseException as error:
        ids = [job.id for job in submission.jobs]
        try:
            if ids:
                batch.cancel(ids)
        except SiteError as second:  # the driver's job ends by itself when it finds the end
            submission.write_end(
                End("cancelled", words="the submission could not be completed", at=time.time())
            )
            raise SiteError(
                f"{error}\nand what had been handed in ({', '.join(ids)}) cannot be cancelled: {second.message}",
                f"cancel it by hand, or later: skymill cancel (folder {submission.path})",
            ) from error
        shutil.rmtree(submission.path, ignore_errors=True)
        raise


def done_lines(submission: Submission, order: Order, path: str) -> list[str]:
    """Return what is said once a run is submitted; `path` names it in the commands to go on with."""
    listed = [
        f"  {job.pool:<10} job {job.id}" + (f", {job.count} at a time" if job.pool != DRIVER else "")
        for job in submission.jobs
    ]
    return [
        f"{name_of(order)}: submitted to {order.site.name} ({order.site.kind})",
        *listed,
        f"  scripts and logs are in {submission.path}",
        f"next: skymill status {path} | skymill logs {path} | skymill cancel {path}",
    ]
