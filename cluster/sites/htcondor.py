"""HTCondor."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.commands import run_command
from cluster.sites.batch import AGAIN, Job, Standing, State
from cluster.sites.scripts import header_and_body, last_match, output
from schemas.errors import SiteDown
from schemas.site import Pool, Site

_ENVIRONMENT = (
    "SKYMILL_JOB_ID=$(ClusterId).$(ProcId) SKYMILL_ARRAY_INDEX=$(ProcId) "
    "HOME='$ENV(HOME)' USER='$ENV(USER)' PATH='$ENV(PATH)'"
)
"""HTCondor's jobs have an empty environment, and no word for which element one is."""

_STATES = {
    1: State.WAITING,
    2: State.RUNNING,
    3: State.ENDED,
    4: State.ENDED,
    5: State.HELD,
    6: State.RUNNING,
    7: State.WAITING,
}
_WORDS = ("", "idle", "running", "removed", "completed", "held", "transferring output", "suspended")
_FIELDS = "ClusterId,ProcId,JobStatus,RemoteHost,HoldReason"
_UNKNOWN_JOB = r"couldn't find/remove|not found|no jobs? (?:found|matched)"


class HTCondor:
    """HTCondor's commands, and what its words mean."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def script(self, job: Job) -> str:
        """Return the submit file that asks for a job; a job past its walltime is held, and let go at once."""
        pool = job.pool
        ending = f"{job.name}-$(ClusterId)_$(ProcId).out" if job.count > 1 else f"{job.name}-$(ClusterId).out"
        path = output(job, ending)
        late = f"(JobStatus == 2) && (time() - EnteredCurrentStatus > {pool.walltime_s})"
        extra = {
            "batch_name": job.name,
            "environment": f'"{_ENVIRONMENT}"',
            "output": path,
            "error": path,
            "log": output(job, f"{job.name}-$(ClusterId).log"),
            "stream_output": True,
            "stream_error": True,
            "on_exit_remove": f"(ExitBySignal == False) && (ExitCode != {AGAIN})",
            "periodic_hold": late,
            "periodic_hold_subcode": AGAIN,
            "periodic_release": f"(HoldReasonCode == 3) && (HoldReasonSubCode == {AGAIN})",
            "job_max_vacate_time": self._site.warn_s,
            **({"request_gpus": pool.gpus} if pool.gpus else {}),
            **({"accounting_group": pool.account} if pool.account else {}),
            **_pairs(pool.directives),
        }
        ours = header_and_body(
            "dask_jobqueue.htcondor:HTCondorJob",
            job,
            self._site,
            extra=extra,
            skip=["RequestDisk", "MY.DaskWorkerDisk", "MY.DaskWorkerName", "batch_name"],
            disk="1GiB",
        )
        lines = [*(line.strip().rstrip(";") for line in ours._job_script_prologue), ours._command_template]
        ours.executable = "/bin/bash"
        ours._command_template = "; ".join(line for line in lines if line and not line.startswith("#"))
        ours._script_template = ours._script_template.replace("\nQueue\n", f"\nQueue {job.count}\n")
        return str(ours.job_script())

    def submit(self, script: Path, job: Job) -> str:
        """Hand in a script, and return the id of the job."""
        return last_match(
            r"(?m)^(\d+)\.\d+", run_command(["condor_submit", "-terse", str(script)]), "condor_submit"
        )

    def standings(self, ids: Iterable[str]) -> Mapping[str, tuple[Standing, ...]]:
        """Return the elements of each job that HTCondor still knows: those that have not ended."""
        found: dict[str, tuple[Standing, ...]] = dict.fromkeys(ids, ())
        if not found:
            return found
        said = run_command(["condor_q", *found, "-json", "-attributes", _FIELDS]).strip()
        try:
            rows = [(str(facts["ClusterId"]), _standing(facts)) for facts in json.loads(said or "[]")]
        except (ValueError, TypeError, KeyError) as error:
            raise SiteDown(
                f"condor_q answered nothing readable: {error}", "run the same command again later"
            ) from error
        for number, standing in rows:
            if number in found:
                found[number] += (standing,)
        return found

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, and do not start them again."""
        if words := list(ids):
            run_command(["condor_rm", *words], pardon=_UNKNOWN_JOB)

    def again(self) -> int:
        """Have this job started once more: HTCondor goes by the exit code."""
        return AGAIN

    def faults(self, where: str, pool: Pool) -> list[str]:
        """Return what HTCondor would refuse: it has no queues, and keeps a job until a machine fits."""
        if pool.queue:
            return [f"{where}.queue: expected none, HTCondor has no queues, found {pool.queue!r}"]
        run_command(["condor_version"])
        return []


def _pairs(lines: Iterable[str]) -> dict[str, str]:
    """Return ``key = value`` lines by key, so that a pool's own replace ours."""
    split = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, _, value in split if key.strip()}


def _standing(facts: Mapping[str, object]) -> Standing:
    number = int(str(facts.get("JobStatus", 0)))
    state = _STATES.get(number, State.UNKNOWN)
    node = str(facts.get("RemoteHost", "")).rpartition("@")[2] if state == State.RUNNING else ""
    reason = str(facts.get("HoldReason", "")) if state == State.HELD else ""
    words = _WORDS[number] if 0 < number < len(_WORDS) else str(number)
    return Standing(state, node, f"{words}: {reason}" if reason else words)
