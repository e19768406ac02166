"""Hand a scaling run in to a site: its driver is ``skymill scale`` itself, its workers as many as take part at most."""

import shlex
from dataclasses import replace
from typing import Protocol

from pipeline.submission_checks import counts_of, faults_of, notes_of, raise_all
from pipeline.submitting import RUN_COPY, copy_of, done_lines, hand_in, hand_over_database, order_of
from schemas.config import RunFile
from schemas.errors import SiteError, SkymillError
from schemas.sitefile import load_site


class _Wish(Protocol):
    @property
    def nodes(self) -> tuple[int, ...]: ...
    @property
    def words(self) -> tuple[str, ...]: ...


def submit(run_file: RunFile, site_name: str, wish: _Wish) -> int:
    """Have a scaling run done by the batch jobs of a site, the largest number of nodes in each pool.

    Raises
    ------
    SkymillError
        With all faults of run file and site; nothing is submitted then.
    """
    site, most = load_site(site_name), max(wish.nodes)
    faults: list[SkymillError] = list(faults_of(run_file, site, counts_of(site, most)))
    faults += [
        SiteError(
            f"pools.{name}.nodes: {most} workers are to take part, and the site file fixes {count}",
            "leave the key out, or name smaller numbers of --nodes",
        )
        for name, count in counts_of(site, most).items()
        if count < most
    ]
    raise_all(faults)
    order = order_of(run_file, site, nodes=most, verb="scale")
    order = replace(order, argv=(*order.argv, *wish.words))
    hand_over_database(run_file, site)
    submission = hand_in(order, only_print=False, files={RUN_COPY: copy_of(run_file)})
    kept = shlex.quote(str(submission.path / RUN_COPY))  # it names the run that is measured, not the user's
    for line in [*done_lines(submission, order, kept), *notes_of(run_file, site)]:
        print(line)
    print(f"  in the end {run_file.folder / 'scaling.html'} has the result")
    return 0
