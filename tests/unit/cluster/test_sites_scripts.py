from pathlib import Path

import dask
import pytest

from cluster.sites.batch import Batch, Job, array_index, batch_of, job_id
from cluster.sites.scripts import SUBMITTERS
from schemas.errors import SiteError
from schemas.runfile import RESERVED
from schemas.site import Pool, Site

FOLDER, LOGS = Path("/home/me/my sky"), Path("/runs/a/submission/logs")
SHELL = """cd '/home/me/my sky' || exit 1
module load python
export PYTHONSAFEPATH=1
exec /env/python -m cluster.jobs.worker /runs/a/submission workers
"""
SCRIPTS = {
    "local": "#!/usr/bin/env bash\n" + SHELL,
    "slurm": f"""#!/usr/bin/env bash

#SBATCH -J a-workers
#SBATCH -p normal
#SBATCH -A acc
#SBATCH -n 1
#SBATCH --cpus-per-task=2
#SBATCH --mem=1536M
#SBATCH -t 1-02:00:00
#SBATCH -N 1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH -o {LOGS}/%x-%A_%a.out
#SBATCH --signal=B:USR1@90
#SBATCH --array=0-2
#SBATCH --gres=gpu:1
#SBATCH mine = 1
{SHELL}""",
    "pbs": f"""#!/usr/bin/env bash

#PBS -N a-workers
#PBS -q normal
#PBS -A acc
#PBS -l select=1:ncpus=2:mem=1536mb:ngpus=1
#PBS -l walltime=26:00:00
#PBS -S /bin/bash
#PBS -r y
#PBS -j oe
#PBS -o {LOGS}/
#PBS -J 0-2
#PBS mine = 1
exec >>"{LOGS}/a-workers-${{PBS_JOBID%%.*}}.out" 2>&1
{SHELL}""",
    "sge": f"""#!/usr/bin/env bash

#$ -N a-workers
#$ -q normal
#$ -P acc
#$ -l h_rt=26:00:00
#$ -S /bin/bash
#$ -r y
#$ -notify
#$ -j y
#$ -o {LOGS}/$JOB_NAME-$JOB_ID.$TASK_ID.out
#$ -wd {LOGS}
#$ -l mem_free=768M
#$ -t 1-3
#$ -l gpu=1
#$ mine = 1
{SHELL}""",
    "lsf": f"""#!/usr/bin/env bash

#BSUB -J "a-workers[1-3]"
#BSUB -q normal
#BSUB -P "acc"
#BSUB -n 2
#BSUB -R "span[hosts=1]"
#BSUB -W 26:00
#BSUB -r
#BSUB -Q "75"
#BSUB -M 1572864
#BSUB -wa USR1 -wt 2
#BSUB -o {LOGS}/a-workers-%J_%I.out
#BSUB -gpu "num=1"
#BSUB mine = 1
{SHELL}""",
    "htcondor": f"""#!/usr/bin/env condor_submit

RequestCpus = MY.DaskWorkerCores
RequestMemory = floor(MY.DaskWorkerMemory / 1048576)
MY.JobId = "$(ClusterId).$(ProcId)"
MY.DaskWorkerCores = 2
MY.DaskWorkerMemory = 1610612736
batch_name = a-workers
environment = "SKYMILL_JOB_ID=$(ClusterId).$(ProcId) SKYMILL_ARRAY_INDEX=$(ProcId)\
 HOME='$ENV(HOME)' USER='$ENV(USER)' PATH='$ENV(PATH)'"
output = {LOGS}/a-workers-$(ClusterId)_$(ProcId).out
error = {LOGS}/a-workers-$(ClusterId)_$(ProcId).out
log = {LOGS}/a-workers-$(ClusterId).log
stream_output = True
stream_error = True
on_exit_remove = (ExitBySignal == False) && (ExitCode != 75)
periodic_hold = (JobStatus == 2) && (time() - EnteredCurrentStatus > 93600)
periodic_hold_subcode = 75
periodic_release = (HoldReasonCode == 3) && (HoldReasonSubCode == 75)
job_max_vacate_time = 90
request_gpus = 1
accounting_group = acc
mine = 1

Arguments = "-c 'cd ''/home/me/my sky'' || exit 1; module load python; export PYTHONSAFEPATH=1; \
exec /env/python -m cluster.jobs.worker /runs/a/submission workers'"
Executable = /bin/bash

Queue 3
""",
}


def place(kind: str, **changes: object) -> tuple[Batch, Job]:
    site = Site(name="lab", kind=kind, prologue=["module load python"], warn_s=90)
    pool = Pool(
        queue="normal",
        account="acc",
        cores=2,
        memory_gib=1.5,
        walltime="1-02:00:00",
        gpus=1,
        directives=["mine = 1"],
    )
    command = "/env/python -m cluster.jobs.worker /runs/a/submission workers"
    job = Job("a-workers", pool, command, FOLDER, LOGS, 3)
    return batch_of(site), Job(**{**vars(job), **changes})


@pytest.fixture(autouse=True)
def _no_lsf(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LSF_ENVDIR", "/nowhere")


@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_script_asks_for_what_the_site_file_says(kind: str):
    batch, job = place(kind)
    assert batch.script(job) == SCRIPTS[kind]


@pytest.mark.parametrize("kind", [kind for kind in SCRIPTS if kind != "local"])
def test_a_single_job_is_no_array_and_asks_only_for_what_is_set(kind: str):
    batch, job = place(kind, count=1, pool=Pool())
    text = batch.script(job)
    for word in (
        "array=",
        "-J 0-",
        "-t 1-",
        "[1-",
        "%a",
        "TASK_ID",
        "gpu",
        "-A ",
        "-P ",
        "-q ",
        "-p ",
        "mine",
    ):
        assert word not in text, word
    assert "\nQueue 1\n" in text or kind != "htcondor"


@pytest.mark.parametrize("kind", SCRIPTS)
def test_nothing_of_the_users_own_dask_settings_enters(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PBS_ACCOUNT", "another")
    batch, job = place(kind, pool=Pool())
    before = batch.script(job)
    theirs = {
        "queue": "theirs",
        "job-script-prologue": ["rm"],
        "job-extra-directives": ["-x"],
        "account": "x",
    }
    with dask.config.set({"jobqueue": {kind: {**theirs, "log-directory": "/nowhere", "disk": "9 TB"}}}):
        assert batch.script(job) == before
    assert "another" not in before


def test_memory_is_asked_for_once_on_grid_engine():
    batch, job = place("sge", pool=Pool(directives=["-l h_vmem=4G"]))
    assert "mem_free" not in batch.script(job)


@pytest.mark.parametrize("kind", [kind for kind in SCRIPTS if kind != "local"])
@pytest.mark.parametrize("folder", ["/runs/my sky/logs", "/runs/$me/logs", '/runs/"a"/logs'])
def test_a_folder_that_directives_cannot_hold_is_refused(kind: str, folder: str):
    batch, job = place(kind, logs=Path(folder))
    with pytest.raises(SiteError, match="directives cannot hold") as caught:
        batch.script(job)
    assert caught.value.remedy


def test_a_job_knows_its_place_by_the_variables_of_any_scheduler():
    for environ, expected in (
        ({"SLURM_JOB_ID": "71", "SLURM_ARRAY_TASK_ID": "3"}, ("71", 3)),
        ({"PBS_JOBID": "7[3].lab", "PBS_ARRAY_INDEX": "3"}, ("7[3].lab", 3)),
        ({"JOB_ID": "7", "SGE_TASK_ID": "undefined"}, ("7", 0)),
        ({"LSB_JOBID": "7", "LSB_JOBINDEX": "3"}, ("7", 3)),
        ({"SLURM_JOB_ID": "1", "SKYMILL_JOB_ID": "7.1", "SKYMILL_ARRAY_INDEX": "3"}, ("7.1", 3)),
    ):
        assert (job_id(environ), array_index(environ)) == expected
    assert job_id({}).isdecimal() and array_index({}) == 0


def test_what_stands_in_the_environment_of_jobs_is_no_key_of_a_run_file():
    assert set(SUBMITTERS) <= RESERVED
