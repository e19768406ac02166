"""Jobs of this machine answer a ping."""

import argparse
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from cluster.sites.batch import State, batch_of
from pipeline import ping_jobs
from pipeline.pinging import ping
from schemas.errors import StoreError
from schemas.sitefile import load_site

SITE = """
schema = 1
name = "mine"
kind = "local"
{more}
[driver]
memory_gib = 0.1
[pools.workers]
memory_gib = 0.1
"""


def asked(folder: Path, more: str = "", run_file: str | None = None) -> argparse.Namespace:
    path = folder / "mine.toml"
    path.write_text(SITE.format(more=more))
    return argparse.Namespace(site=str(path), pool="", run_file=run_file, wait=300.0)


def a_closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def test_a_sound_site_passes_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST", str(tmp_path))
    with closing(socket.create_server(("127.0.0.1", 0))) as database:
        run_file = tmp_path / "run.toml"
        run_file.write_text(
            f'schema = 1\nname = "a"\n[samples.spectro]\nsql = "SELECT z FROM SpecObj"\n'
            f'[database]\ndsn = "host=127.0.0.1 port={database.getsockname()[1]}"\n'
        )
        code = ping(asked(tmp_path, 'scratch = "$FAST/scratch"', str(run_file)))
    text = capsys.readouterr().out
    assert code == 0, text
    driver, worker = (line for line in text.splitlines() if line.startswith(("driver  ", "workers  ")))
    assert "workers, this machine, database" in driver
    assert worker.endswith("driver, this machine")
    assert re.search(r"\d+/\d+ MiB/s", worker)
    assert list((tmp_path / ".skymill" / "ping").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".skymill",
        "mine.toml",
        "run.toml",
        "scratch",
    ]


def test_all_faults_are_named_at_once_and_the_answers_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    port = a_closed_port()
    run_file = tmp_path / "run.toml"
    run_file.write_text(
        f'schema = 1\nname = "a"\n[samples.spectro]\nsql = "SELECT z FROM SpecObj"\n'
        f'[source]\nurl = "http://127.0.0.1:{port}"\n[database]\ndsn = "host=127.0.0.1 port={port}"\n'
    )
    more = 'interface = "nosuch0"\nscratch = "$NOT_SET_ANYWHERE"'
    assert ping(asked(tmp_path, more, str(run_file))) == 10
    text = capsys.readouterr().out
    for words in (
        "has no interface 'nosuch0'; it has ",
        "fault  driver: the driver is to count the samples",
        "fault  pools.workers.stages: its jobs fetch and pull",
        f"fault  database.dsn: the driver's job on {socket.gethostname()} does not reach 127.0.0.1:{port}",
        "$NOT_SET_ANYWHERE",
    ):
        assert words in text
    kept = Path(re.findall(r"answers and logs are in (\S+)", text)[0])
    assert (kept / "driver.json").exists()


def test_a_job_that_cannot_start_is_told_of_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ping_jobs, "LATE_S", 2.0)
    assert ping(asked(tmp_path, 'python = "/no/such/python"')) == 10
    text = capsys.readouterr().out
    assert text.count("ended without an answer") == 2
    assert "/no/such/python" in text
    assert "mend `python` or `prologue`" in text


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_handed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".skymill").touch()
    with pytest.raises(StoreError, match=re.escape("cannot write .skymill/ping")):
        ping(asked(tmp_path))


def test_a_scheduler_that_never_said_how_a_job_is_does_not_make_it_an_ended_one(tmp_path: Path):
    site = load_site("local")
    jobs = ping_jobs.Jobs(batch_of(site), tmp_path, {"driver": "7"})
    assert jobs.wait("nonce", wait_s=0.0) == {}
    words, change = jobs.silent["driver"]
    assert words.startswith("job 7 is waiting after") and "--wait" in change


def test_an_interrupted_ping_takes_its_jobs_with_it(tmp_path: Path):
    asked(tmp_path, """python = "sh -c 'exec sleep 600'" """)
    program = "import sys; from pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", program, "ping", "--site", "mine.toml"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    batch = batch_of(load_site(str(tmp_path / "mine.toml")))
    ids: list[str] = []
    try:
        ids = [re.findall(r"job (\S+) is", process.stdout.readline())[0] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
        deadline = time.monotonic() + 60
        while any(each.state is not State.ENDED for found in batch.standings(ids).values() for each in found):
            assert time.monotonic() < deadline, "the jobs live on"
            time.sleep(0.2)
        assert list((tmp_path / ".skymill" / "ping").iterdir()) == []
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        batch.cancel(ids)
