"""Commands of batch schedulers that really run the scripts, as processes of this machine.

`install` puts links to this file, one a command, into ``<folder>/<kind>/``. They answer in the words and formats of
the real commands, refuse what those refuse, read the directives of the script, and start jobs again by the rules
these give. ``FAKE_SCHEDULER`` names the folder of the jobs; nothing of skymill is imported here.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "pbs": ("qsub", "qstat", "qdel", "pbsnodes"),
    "sge": ("qsub", "qstat", "qdel", "qconf"),
    "lsf": ("bsub", "bjobs", "bkill", "bqueues"),
    "htcondor": ("condor_submit", "condor_q", "condor_rm", "condor_version"),
    "slurm": ("sbatch", "squeue", "scancel", "scontrol", "sinfo"),
}
QUEUES = {"pbs": ["long", "workq"], "sge": ["all.q"], "lsf": ["normal", "night"], "slurm": ["debug"]}
MARKS = {"pbs": "#PBS ", "sge": "#$ ", "lsf": "#BSUB ", "slurm": "#SBATCH "}
NODE = "node1"


def install(folder, kind):
    """Make the commands of a kind, and return the folder that belongs on the path."""
    bin_ = folder / kind
    bin_.mkdir(parents=True)
    text = f"#!{sys.executable} -IS\n" + Path(__file__).read_text(encoding="utf-8")
    (bin_ / ".fake").write_text(text, encoding="utf-8")
    (bin_ / ".fake").chmod(0o755)
    for command in COMMANDS[kind]:
        (bin_ / command).symlink_to(".fake")
    return bin_


def end_all(home):
    """Kill whatever runs; for the end of a test."""
    for path in home.glob("*/*.pid"):
        with contextlib.suppress(OSError):
            os.killpg(int(path.read_text()), signal.SIGKILL)


def put(path, value):
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(value if isinstance(value, str) else json.dumps(value))
    fresh.replace(path)


def refuse(words, code=1):
    print(words, file=sys.stderr)
    sys.exit(code)


class Table:
    """The jobs, a folder each."""

    def __init__(self, kind):
        self.kind, self.home = kind, Path(os.environ["FAKE_SCHEDULER"])

    def add(self, facts):
        number = 1
        while True:
            try:
                (self.home / str(number)).mkdir(parents=True)
                break
            except FileExistsError:
                number += 1
        folder = self.home / str(number)
        put(folder / "job", {"kind": self.kind, "number": number, **facts})
        for index in facts["indices"]:
            put(folder / f"{index}.state", "waiting")
        runner = [sys.executable, "-IS", str(Path(__file__).resolve()), "run", str(folder)]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(runner, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        put(folder / "runner.pid", str(process.pid))
        return number

    def job(self, number):
        path = self.home / number / "job"
        return json.loads(path.read_text()) if path.exists() else None

    def states(self, number):
        """Return the state of each element, by index."""
        states = {int(path.stem): path.read_text() for path in (self.home / number).glob("*.state")}
        return dict(sorted(states.items()))

    def is_over(self, number):
        return all(state == "ended" for state in self.states(number).values())

    def tell(self, number, what):
        (self.home / number / what).touch()


def directives(kind, text):
    """Return the directives of a script, as lists of words."""
    mark = MARKS[kind]
    found = []
    for line in text.splitlines():
        if line.startswith(mark):
            found.append(re.findall(r'"[^"]*"|[^\s"]+', line.removeprefix(mark)))
        elif line and not line.startswith("#"):
            break
    return [[word.strip('"') for word in words] for words in found]


def option(found, flag):
    """Return the last value of an option; None if it is not there."""
    values = [words[place + 1] for words in found for place, word in enumerate(words[:-1]) if word == flag]
    return values[-1] if values else None


def submit(table, script, environ):
    """Take a job whose script has directives."""
    kind, text = table.kind, Path(script).read_text() if script else sys.stdin.read()
    found = directives(kind, text)
    flat = [word for words in found for word in words]
    queue = option(found, "-p" if kind == "slurm" else "-q")
    if queue and queue not in QUEUES[kind]:
        refuse(
            {
                "pbs": "qsub: Unknown queue",
                "sge": f'Unable to run job: Job was rejected because job requests unknown queue "{queue}".\nExiting.',
                "lsf": f"{queue}: No such queue. Job not submitted.",
                "slurm": f"sbatch: error: invalid partition specified: {queue}\n"
                "sbatch: error: Batch job submission failed: Invalid partition name specified",
            }[kind],
            {"pbs": 170, "lsf": 255}.get(kind, 1),
        )
    name = option(found, "-J" if kind in ("slurm", "lsf") else "-N")
    spans = {
        "pbs": option(found, "-J"),
        "sge": option(found, "-t"),
        "lsf": (re.search(r"\[(.*)\]", name or "") or [None, None])[1],
        "slurm": next((word.partition("=")[2] for word in flat if word.startswith("--array=")), None),
    }
    first, _, last = (spans[kind] or "0-0").partition("-")
    keep = table.home / f"script-{time.time_ns()}"
    table.home.mkdir(parents=True, exist_ok=True)
    keep.write_text(text)
    facts = {
        "name": re.sub(r"\[.*", "", name or "job"),
        "command": ["bash", str(keep)],
        "array": spans[kind] is not None,
        "indices": list(range(int(first), int(last) + 1)),
        "output": option(found, "-o"),
        "environ": environ,
        "again": {"sge": [99], "lsf": [int(code) for code in (option(found, "-Q") or "").split()]}.get(
            kind, []
        ),
        "signal": "SIGUSR2" if kind == "sge" and "-notify" in flat else "SIGTERM",
    }
    number = table.add(facts)
    return number, facts


def unquote(text):
    """Return the words of HTCondor's quoted arguments."""
    text = re.fullmatch(r'"(.*)"', text.strip())[1].replace('""', '"')
    words = re.findall(r"(?:'(?:[^']|'')*'|[^\s'])+", text)
    return [
        re.sub(r"'((?:[^']|'')*)'", lambda part: part[1].replace("''", "\0"), word).replace("\0", "'")
        for word in words
    ]


def submit_condor(table, script):
    pairs = dict(re.findall(r"(?m)^(\w[\w.]*) = (.*)$", Path(script).read_text()))
    count = int(re.search(r"(?m)^Queue (\d+)$", Path(script).read_text())[1])
    environ = re.sub(r"\$ENV\((\w+)\)", lambda name: os.environ.get(name[1], ""), pairs["environment"])
    number = table.add(
        {
            "name": pairs["batch_name"],
            "command": [pairs["Executable"], *unquote(pairs["Arguments"])],
            "array": count > 1,
            "indices": list(range(count)),
            "output": pairs["output"],
            "environ": dict(word.split("=", 1) for word in unquote(environ)),
            "remove": pairs["on_exit_remove"].replace("&&", "and"),
            "signal": "SIGTERM",
        }
    )
    print(f"{number}.0 - {number}.{count - 1}")


# --- the run of a job, in the background -----------------------------------------------------------------------------


def run_job(folder):
    """Run all elements of a job until each has ended for good."""
    facts = json.loads((folder / "job").read_text())
    running = {index: start(folder, facts, index) for index in facts["indices"]}
    told = 0.0
    while running:
        time.sleep(0.05)
        requeue = (folder / "requeue").exists()
        if ((folder / "cancel").exists() or requeue) and not told:
            told = time.monotonic()
            for process in running.values():
                process.send_signal(getattr(signal, facts["signal"]))
        for index, process in list(running.items()):
            if told and time.monotonic() > told + 5:
                process.kill()
            if (code := process.poll()) is None:
                continue
            if requeue or (not told and is_again(facts, code)):
                (folder / "requeue").unlink(missing_ok=True)
                told = 0.0
                put(folder / f"{index}.state", "waiting")
                time.sleep(0.3)
                running[index] = start(folder, facts, index)
            else:
                put(folder / f"{index}.state", "ended")
                del running[index]


def is_again(facts, code):
    if "remove" in facts:
        return not eval(facts["remove"], {}, {"ExitBySignal": code < 0, "ExitCode": code})
    return code in facts["again"]


def start(folder, facts, index):
    number, array, kind = facts["number"], facts["array"], facts["kind"]
    element = f"{number}[{index}].lab" if array else f"{number}.lab"
    names = {
        "pbs": {"PBS_JOBID": element} | ({"PBS_ARRAY_INDEX": index} if array else {}),
        "sge": {"JOB_ID": number, "SGE_TASK_ID": index if array else "undefined"},
        "lsf": {"LSB_JOBID": number, "LSB_JOBINDEX": index if array else 0},
        "slurm": {"SLURM_JOB_ID": number * 1000 + index if array else number}
        | ({"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index} if array else {}),
        "htcondor": {},
    }[kind]
    values = {"$JOB_NAME": facts["name"], "$JOB_ID": number, "$TASK_ID": index, "%x": facts["name"]}
    values |= {"%J": number, "%I": index, "%A": number, "%a": index, "%j": number}
    values |= {"$(ClusterId)": number, "$(ProcId)": index}

    def filled(text):
        for key, value in values.items():
            text = text.replace(key, str(value))
        return text

    output = filled(facts["output"])
    if output.endswith("/"):
        output += f"{facts['name']}.o{number}" + (f".{index}" if array else "")
    with Path(output).open("ab") as log:
        process = subprocess.Popen(
            [filled(word) for word in facts["command"]],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={key: filled(str(value)) for key, value in (facts["environ"] | names).items()},
            start_new_session=True,
        )
    put(folder / f"{index}-{process.pid}.pid", str(process.pid))
    put(folder / f"{index}.state", "running")
    return process


# --- the commands ----------------------------------------------------------------------------------------------------

PLAIN = {key: os.environ[key] for key in ("HOME", "PATH", "FAKE_SCHEDULER") if key in os.environ}


def numbers(words):
    return [re.match(r"\d+", word)[0] for word in words if word[:1].isdigit()]


def pbs(table, command, words):
    if command == "qsub":
        given = dict(pair.split("=", 1) for pair in (option([words], "-v") or "").split(",") if pair)
        number, facts = submit(table, words[-1], PLAIN | given)
        print(f"{number}[].lab" if facts["array"] else f"{number}.lab")
    elif command == "qstat" and words == ["-Qf"]:
        for queue, limit in (("workq", ""), ("long", "24:00:00")):
            extra = f"    resources_max.walltime = {limit}\n" if limit else ""
            print(
                f"Queue: {queue}\n    queue_type = Execution\n{extra}    enabled = True\n    started = True\n"
            )
    elif command == "pbsnodes":
        print(f"{NODE}\n     Mom = {NODE}.lab\n     state = free")
        print("     resources_available.mem = 8388608kb\n     resources_available.ncpus = 4\n")
    else:
        code = 0
        for number in numbers(words):
            job = table.job(number)
            if job is None or table.is_over(number):
                lost = f"{command}: Unknown Job Id {number}.lab"
                over = f"{command}: {number}.lab Job has finished, use -x or -H to obtain historical job information"
                print(lost if job is None else over, file=sys.stderr)
                code = 153 if job is None else 35
            elif command == "qdel":
                table.tell(number, "cancel")
            else:
                show_pbs(job, table.states(number))
        sys.exit(code)


def show_pbs(job, states):
    letters = {"waiting": "Q", "running": "R", "ended": "X"}
    if job["array"]:
        print(
            f"Job Id: {job['number']}[].lab\n    Job_Name = {job['name']}\n    job_state = B\n    array = True\n"
        )
    for index, state in states.items():
        id_ = f"{job['number']}[{index}].lab" if job["array"] else f"{job['number']}.lab"
        node = f"    exec_host = {NODE}/{index}\n" if state == "running" else ""
        print(
            f"Job Id: {id_}\n    Job_Name = {job['name']}\n    job_state = {letters[state]}\n{node}", end=""
        )
        print(
            "    Variable_List = PBS_O_HOME=/home/someone,PBS_O_PATH=/usr/local/bin:/usr/bin:\n\t/bin,PBS_O_LANG=C\n"
        )


def sge(table, command, words):
    if command == "qsub":
        number, facts = submit(table, words[-1], PLAIN)
        first, last = facts["indices"][0], facts["indices"][-1]
        print(f"{number}.{first}-{last}:1" if facts["array"] else number)
    elif command == "qconf" and words == ["-sql"]:
        print("all.q")
    elif command == "qconf" and words[0] == "-sq":
        print("qname                 all.q\nhostlist              @allhosts\ns_rt                  INFINITY")
        print("h_rt                  24:00:00\nh_vmem                INFINITY")
    elif command == "qconf":
        print("make\nsmp")
    elif command == "qdel":
        lost = [number for number in numbers(words) if table.job(number) is None or table.is_over(number)]
        for number in numbers(words):
            if number in lost:
                print(f'denied: job "{number}" does not exist')
            else:
                table.tell(number, "cancel")
                print(f"someone has registered the job {number} for deletion")
        sys.exit(bool(lost))
    else:
        show_sge(table)


def show_sge(table):
    letters = {"waiting": ("pending", "qw", ""), "running": ("running", "r", f"all.q@{NODE}")}
    print("<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"http://example.org/qstat.xsd\">\n  <queue_info>")
    for folder in sorted(table.home.glob("[0-9]*")):
        job = table.job(folder.name)
        for index, state in table.states(folder.name).items():
            if state != "ended":
                word, letter, queue = letters[state]
                tasks = f"<tasks>{index}</tasks>" if job["array"] else ""
                print(f'<job_list state="{word}"><JB_job_number>{job["number"]}</JB_job_number>')
                print(f"<state>{letter}</state><queue_name>{queue}</queue_name>{tasks}</job_list>")
    print("  </queue_info>\n  <job_info>\n  </job_info>\n</job_info>")


def lsf(table, command, words):
    if command == "bsub":
        number, _ = submit(table, None, dict(os.environ))
        print(f"Job <{number}> is submitted to queue <normal>.")
    elif command == "bqueues" and words[:1] == ["-l"]:
        print(f"QUEUE: {words[1]}\n  -- For normal jobs.\n\nPARAMETERS/STATISTICS\nPRIO NICE STATUS")
        print(
            " 30   0  Open:Active\n\nRUNLIMIT                \n 1440.0 min\n\nSCHEDULING POLICIES:  FAIRSHARE"
        )
    elif command == "bqueues":
        print("QUEUE_NAME      PRIO STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN  SUSP ")
        for queue in QUEUES["lsf"]:
            print(f"{queue:15}  30  Open:Active       -    -    -    -     0     0     0     0")
    else:
        code = 0
        for number in numbers(words):
            job = table.job(number)
            if job is None:
                lost = (
                    f"Job <{number}> is not found"
                    if command == "bjobs"
                    else f"Job <{number}>: No matching job found"
                )
                print(lost, file=sys.stderr)
                code = 255
            elif command == "bkill" and table.is_over(number):
                print(f"Job <{number}>: Job has already finished", file=sys.stderr)
                code = 255
            elif command == "bkill":
                table.tell(number, "cancel")
                print(f"Job <{number}> is being terminated")
            else:
                letters = {"waiting": "PEND|-|New job is waiting for scheduling;", "running": f"RUN|{NODE}|-"}
                for index, state in table.states(number).items():
                    print(f"{number}|{index}|{letters.get(state, f'DONE|{NODE}|-')}")
        sys.exit(code)


def htcondor(table, command, words):
    if command == "condor_submit":
        submit_condor(table, words[-1])
    elif command == "condor_version":
        print("$CondorVersion: 23.0.0 2023-09-29 BuildID: 678228 $")
    elif command == "condor_rm":
        lost = [number for number in numbers(words) if table.job(number) is None or table.is_over(number)]
        for number in numbers(words):
            if number in lost:
                print(f"Couldn't find/remove all jobs in cluster {number}", file=sys.stderr)
            else:
                table.tell(number, "cancel")
                print(f"All jobs in cluster {number} have been marked for removal")
        sys.exit(bool(lost))
    else:
        rows = [
            {"ClusterId": int(number), "JobStatus": 2 if state == "running" else 1, "ProcId": index}
            | ({"RemoteHost": f"slot1_{index}@{NODE}"} if state == "running" else {})
            for number in numbers(words)
            if table.job(number)
            for index, state in table.states(number).items()
            if state != "ended"
        ]
        print(json.dumps(rows, indent=1) if rows else "")


def slurm(table, command, words):
    if command == "sbatch":
        number, _ = submit(table, words[-1], dict(os.environ))
        print(number)
    elif command == "sinfo":
        print("debug|debug*|1:00:00|4|8000|(null)")
    elif command == "scontrol":
        table.tell(words[1], "requeue")
        time.sleep(0.5)
    elif command == "scancel":
        for number in numbers(words):
            if table.job(number) is None:
                refuse(f"scancel: error: Kill job error on job id {number}: Invalid job id specified")
            table.tell(number, "cancel")
    else:
        asked = option([words], "-j").split(",")
        if [number for number in asked if table.job(number) is None] == asked:
            refuse("slurm_load_jobs error: Invalid job id specified")
        letters = {"waiting": "PENDING||Resources", "running": f"RUNNING|{NODE}|None"}
        for number in asked:
            for index, state in table.states(number).items():
                id_ = f"{number}_{index}" if table.job(number)["array"] else number
                print(f"{id_}|{letters.get(state, f'COMPLETED|{NODE}|None')}")


if __name__ == "__main__":
    called = Path(sys.argv[0])
    if sys.argv[1:2] == ["run"]:
        run_job(Path(sys.argv[2]))
    else:
        {"pbs": pbs, "sge": sge, "lsf": lsf, "htcondor": htcondor, "slurm": slurm}[called.parent.name](
            Table(called.parent.name), called.name, sys.argv[1:]
        )
