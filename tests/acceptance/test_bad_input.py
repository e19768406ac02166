"""A sky full of faults, and run files full of faults: named failures, clear words, no traceback."""

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import SKYMILL, MillRun

GALAXIES = 60
FIRST_ID = 9348347234946752512
"""Plate 8303: past 2**63."""
TRUNCATED, BLACK, PAGE, NAN_POSITION, OUTSIDE, NO_LABEL = 3, 4, 5, 6, 7, 8
RUN_FILE = """
schema = 1
name = "mill"
output = "{folder}/runs"
[sandbox]
sky = "{folder}/sky"
[samples.spectro]
sql = "SELECT specObjID, ra, dec, z, class FROM SpecObj"
key = "specObjID"
partition_by = "plate"
[cube]
rows_per_chunk = 20
rows_per_block = 20
[training]
epochs = 1
batch = 16
[politeness]
requests_per_second = 1000
connections = 4
queries_per_minute = 6000
retries = 1
[cluster]
workers = 1
[database]
directory = "{folder}/postgres"
[catalogue]
name = "mill"
"""


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 200, (64, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()


def black_jpeg() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG")
    return out.getvalue()


def write_sky(folder: Path) -> None:
    (folder / "jpeg").mkdir(parents=True)
    rows: list[list[object]] = []
    cutouts = []
    for k in range(GALAXIES):
        ra, dec, z = 10 + 0.1 * k, 5.0, 0.05 + 0.002 * k
        good = jpeg(k)
        body = {TRUNCATED: good[: len(good) // 2], BLACK: black_jpeg(), PAGE: b"<html>Sorry</html>"}.get(
            k, good
        )
        if k not in (NAN_POSITION, OUTSIDE):
            (folder / "jpeg" / f"{k}.jpg").write_bytes(body)
            cutouts.append([ra, dec, 0.396, 64, 64, f"{k}.jpg"])
        rows.append(
            [
                FIRST_ID + k * 4096,
                8303,
                "NaN" if k == NAN_POSITION else ra,
                dec,
                "NaN" if k == NO_LABEL else z,
                "GALAXY",
            ]
        )
    rows += [rows[0], [*rows[1][:4], 0.3, "GALAXY"], [*rows[1][:4], 0.3, "GALAXY"]]
    tables = {
        "specobj.csv": [["specObjID", "plate", "ra", "dec", "z", "class"], *rows],
        "photoobj.csv": [["objID", "ra", "dec"], [1152943894419209038, 10.0, 5.0]],
        "cutouts.csv": [["ra", "dec", "scale", "width", "height", "file"], *cutouts],
    }
    for name, lines in tables.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(lines)


@pytest.fixture(scope="module")
def bad_sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MillRun]:
    run = MillRun(tmp_path_factory.mktemp("bad"))
    run.run_file.write_text(RUN_FILE.format(folder=run.folder))
    write_sky(run.folder / "sky")
    run.first = run.command("run")
    yield run
    run.stop_database()


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check that a command ended with `code`, said `words` and a remedy, and showed no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    for word in (*words, "remedy: "):
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_every_bad_galaxy_is_counted_and_named_and_the_good_ones_are_published(bad_sky: MillRun):
    assert bad_sky.first.returncode == 0, bad_sky.first.stdout + bad_sky.first.stderr
    named = bad_sky.query('SELECT id, reason, permanent FROM skymill.object_failure ORDER BY "row", stage')
    ids = {int(ident): (reason, permanent) for ident, reason, permanent in named if reason != "duplicate"}
    assert ids == {
        FIRST_ID + TRUNCATED * 4096: ("truncated", False),
        FIRST_ID + BLACK * 4096: ("blank", False),
        FIRST_ID + PAGE * 4096: ("error page", False),
        FIRST_ID + NAN_POSITION * 4096: ("bad position", True),
        FIRST_ID + OUTSIDE * 4096: ("outside footprint", True),
    }
    assert {int(ident) for ident, reason, _ in named if reason == "duplicate"} == {FIRST_ID, FIRST_ID + 4096}
    assert bad_sky.query("SELECT count(*), min(id) FROM catalogue.mill") == [(GALAXIES - 5, FIRST_ID)]
    lines = dict(line.split(maxsplit=1) for line in bad_sky.first.stdout.splitlines() if " " in line)
    assert lines["asked"] == f"{GALAXIES} galaxies"
    assert lines["failed"].startswith("5 (")
    assert lines["duplicates"].startswith("2 keys")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["pixles=3", "training.epochs=many"], 2, ["2 faults", "pixles: unknown key", "training.epochs"]),
        (
            ["model.preset=nope", "target.column=zz", "target.definition=x"],
            3,
            ["3 faults", "'nope'", "'zz'", "'x'"],
        ),
        (
            ["name=text", "target.column=class", "target.definition=regression"],
            3,
            ["numbers in the column class, found string, as 'GALAXY'"],
        ),
        (["name=one", "samples.spectro.limit=1"], 3, ["found 1 and 0"]),
        (
            ["name=none", 'samples.spectro.sql="SELECT specObjID, ra, dec, z FROM SpecObj WHERE z > 9"'],
            3,
            ["no rows"],
        ),
        (["images.pixels=96"], 5, ["pixels: expected 96, found 64"]),
        (["name=wide", "images.pixels=96"], 4, ["none of 60 cutouts could be had"]),
        (["output=/proc/none"], 5, ["/proc/none"]),
        (["database.dsn=host=127.0.0.1 port=9 user=a dbname=b"], 75, ["does not answer"]),
        (["name=far", "source.url=http://127.0.0.1:9", "politeness.give_up_after_s=1"], 75, ["127.0.0.1:9"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_what_cannot_be_is_refused_in_words(bad_sky: MillRun, words: list[str], code: int, said: list[str]):
    refused(bad_sky.command("run", *words), code, *said)


def test_a_wrong_password_is_told_and_a_password_file_is_read(bad_sky: MillRun, tmp_path: Path):
    host, port, _, user, password = (bad_sky.folder / "postgres" / "pgpass").read_text().strip().split(":")
    port = (bad_sky.folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[3]
    dsn = f"database.dsn=host={host} port={port} user={user} dbname=skymill"
    secret = tmp_path / "secret"
    for text, code in (("wrong", 6), (password, 0)):
        secret.write_text(text)
        secret.chmod(0o600)
        assert bad_sky.command("status", dsn, f"database.password_file={secret}").returncode == code
    done = subprocess.run(
        [SKYMILL, "status", str(bad_sky.run_file), dsn],
        env={**os.environ, "PGPASSWORD": "wrong"},
        capture_output=True,
        text=True,
    )
    refused(done, 6, "password authentication failed", "PGPASSWORD")


def test_a_database_of_a_newer_schema_is_left_alone(bad_sky: MillRun):
    bad_sky.query("SELECT 1")
    change(bad_sky, "INSERT INTO skymill.migration (version, name) VALUES (999, 'later')")
    try:
        refused(bad_sky.command("run"), 6, "schema version 999")
    finally:
        change(bad_sky, "DELETE FROM skymill.migration WHERE version = 999")


def change(run: MillRun, sql: str) -> None:
    connection: psycopg2.extensions.connection = run.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
    connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the small disk this needs")
def test_a_full_disk_is_told_and_with_room_the_run_goes_on(bad_sky: MillRun, tmp_path: Path):
    words = [f"output={tmp_path}", "name=tight", "catalogue.name=tight"]
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], capture_output=True)
    if mount.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        assert bad_sky.command("plan", *words).returncode == 0
        somebody = tmp_path / "somebody-elses"
        somebody.write_bytes(bytes(shutil.disk_usage(tmp_path).free - 850_000))
        refused(bad_sky.command("run", *words), 5, "the disk is full")
        refused(bad_sky.command("plan", *words, "samples.spectro.limit=55"), 3, "GiB of disk")
        subprocess.run(["mount", "-o", "remount,size=200m", tmp_path], check=True)
        done = bad_sky.command("run", *words)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        subprocess.run(["umount", tmp_path], check=True)
