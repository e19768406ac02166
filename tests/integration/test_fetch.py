"""Fetching from the sandbox: every good galaxy bit for bit, every bad one named, no limit violated."""

import contextlib
import csv
import hashlib
import io
import json
import threading
import time
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image

from cluster.desk import Manners
from cluster.work import whoami
from pipeline.sandbox.options import TRANSIENT_KINDS, Faults, SandboxOptions
from pipeline.sandbox.process import start
from pipeline.sources.cutouts import CutoutSource
from pipeline.stages.fetch import fetch_block
from pipeline.stores.cube import CubeSpec, content_digest, create_cube, read_block
from pipeline.stores.staging import Staging, clean, place, verify
from schemas.errors import SourceDown
from schemas.flags import Status
from schemas.records import Block, blocks_of

PIXELS = 64
ROWS = 160


def position(row: int) -> tuple[float, float]:
    return round(10 + row / 10, 4), round(-5 + row / 50, 4)


def body(row: int) -> bytes:
    noise = np.random.default_rng(row).normal(40, 12, (PIXELS, PIXELS, 3)).clip(0, 255)
    noise[24:40, 24:40] += 100
    file = io.BytesIO()
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=75)
    return file.getvalue()


@pytest.fixture(scope="module")
def sky(tmp_path_factory) -> Path:
    """Make a recorded sky of noise."""
    folder = tmp_path_factory.mktemp("sky")
    (folder / "jpeg").mkdir()
    with (
        (folder / "cutouts.csv").open("w", newline="") as cuts,
        (folder / "photoobj.csv").open("w", newline="") as photo,
    ):
        cutouts, objects = csv.writer(cuts), csv.writer(photo)
        cutouts.writerow(["ra", "dec", "scale", "width", "height", "file"])
        objects.writerow(["objID", "ra", "dec", "type"])
        for row in range(ROWS):
            (folder / "jpeg" / f"{row}.jpg").write_bytes(body(row))
            cutouts.writerow([*position(row), 0.4, PIXELS, PIXELS, f"{row}.jpg"])
            objects.writerow([10**18 + row, *position(row), 3])
    header = "specObjID,bestObjID,plate,mjd,fiberID,ra,dec,z,zErr,zWarning,zOffset,velDisp,velDispErr,class\n"
    lines = (
        f"{(9000 << 50) + r},{10**18 + r},9000,5,1,{position(r)[0]},{position(r)[1]},0.1,1e-5,0,0,200,5,GALAXY"
        for r in range(ROWS)
    )
    (folder / "specobj.csv").write_text(header + "\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def quiet_url(sky, tmp_path_factory):
    """URL of a sandbox that shows this sky without a fault."""
    with start(SandboxOptions(sky=str(sky)), tmp_path_factory.mktemp("quiet") / "log") as sandbox:
        yield sandbox.url


def a_cube(folder: Path, rows: int, ra: list[float] | None = None) -> Path:
    table = {
        "row": np.arange(rows),
        "id": np.arange(rows).astype(np.uint64) + 2**63,
        "ra": ra or [position(row)[0] for row in range(rows)],
        "dec": [position(row)[1] for row in range(rows)],
        "label": np.zeros(rows, np.float32),
        "split": np.zeros(rows, np.uint8),
    }
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(table), folder / "rows.parquet")
    spec = CubeSpec("s", PIXELS, 0.4, ("i", "r", "g"), 128, 32, 17, "http://sky", "z")
    create_cube(folder / "s.zarr", folder / "rows.parquet", spec)
    return folder / "s.zarr"


def blocks(cube: Path) -> list[Block]:
    return blocks_of("s", zarr.open_group(cube, mode="r")["id"].shape[0], rows_per_block=128)


def content(cube: Path, block: Block) -> str:
    rows = read_block(cube, block)
    return content_digest(rows.status, rows.digest, rows.image)


def fetch(cube: Path, url: str, *, rate: float = float("inf"), connections: int = 6, **settings):
    source = replace(CutoutSource(url, 17, PIXELS, 0.4, read_timeout_s=20.0, backoff_s=0.1), **settings)
    manners = Manners(url, requests_per_second=rate, connections=connections, give_up_after_s=2.0)
    receipts = []
    for block in blocks(cube):
        staging = Staging(str(cube.parent / "staging"), "fetch", block.key)
        receipt = fetch_block(cube=str(cube), block=block, source=source, manners=manners, staging=staging)
        place(receipt)
        assert not verify(receipt.products) and content(cube, block) == receipt.digest
        receipts.append(receipt)
    return receipts


def stats(url: str) -> dict:
    with urllib.request.urlopen(url.rstrip("/") + "/_stats") as answer:
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outside_as", "kinds"),
    # Every refusal pauses all for a second: once is enough.
    [("404", TRANSIENT_KINDS), ("tile", ("black_200", "html_200", "truncated"))],
)
def test_faults_of_eight_kinds_lose_no_good_galaxy_and_violate_no_limit(sky, tmp_path, outside_as, kinds):
    faults = Faults(0.1, 0.03, seed=253, kinds=kinds, stall_s=1.0, outside_as=outside_as)
    options = SandboxOptions(sky=str(sky), faults=faults, rate_limit_per_s=80.0, connection_limit=6)
    cube = a_cube(tmp_path, ROWS)
    with start(options, tmp_path / "log") as sandbox:
        receipts = fetch(cube, sandbox.url, rate=80.0, read_timeout_s=0.5)
        found = stats(sandbox.url)
    assert found["violations"]["rate"]["count"] == found["violations"]["connections"]["count"] == 0
    failures = [failure for receipt in receipts for failure in receipt.failures]
    assert failures and {failure.status for failure in failures} == {Status.OUTSIDE_FOOTPRINT}
    group = zarr.open_group(cube, mode="r")
    outside = {failure.row for failure in failures}
    faults_seen = {fault for receipt in receipts for fault in receipt.facts["faults"]}
    assert faults_seen >= {"blank", "error page", "truncated"}
    assert kinds != TRANSIENT_KINDS or faults_seen >= {"server error", "throttled", "timeout"}
    assert len(outside) < 0.1 * ROWS
    for row in range(ROWS):
        if row in outside:
            assert group["status"][row] == Status.OUTSIDE_FOOTPRINT and not group["image"][row].any()
        else:
            assert group["status"][row] == Status.OK
            assert bytes(group["digest"][row]) == hashlib.sha256(body(row)).digest()[:16]
            np.testing.assert_array_equal(group["image"][row], np.asarray(Image.open(io.BytesIO(body(row)))))


def test_a_second_fetch_gives_the_same_digest_and_a_retry_asks_for_the_failed_rows_only(sky, tmp_path):
    options = SandboxOptions(sky=str(sky), faults=Faults(transient=0.3, kinds=("error_500",), seed=1))
    cube, other = a_cube(tmp_path, 128), a_cube(tmp_path / "other", 128)
    with start(options, tmp_path / "log") as sandbox:
        first = fetch(cube, sandbox.url, retries=0)[0]
        failed = {failure.row for failure in first.failures}
        assert failed and all(Status(failure.status).retryable for failure in first.failures)
        again = fetch(cube, sandbox.url)[0]
        assert again.facts["requests"] < 4 * len(failed) and not again.failures
        whole = fetch(other, sandbox.url)[0]
    assert whole.digest == again.digest != first.digest
    assert again.facts["ok"] == 128 and again.worker == whoami()


def cut_off_after(moves: int, monkeypatch):
    """Let `place` die after so many moves, as by ``kill -9``."""
    real, done = Path.replace, []

    def replace(path, target):
        real(path, target)
        done.append(target)
        if len(done) == moves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("moves", [1, 2, 3])
def test_a_block_whose_placing_is_cut_off_comes_out_like_an_undisturbed_one(
    quiet_url, tmp_path, monkeypatch, moves
):
    cube, other = a_cube(tmp_path, 40), a_cube(tmp_path / "other", 40)
    undisturbed = fetch(other, quiet_url)[0]
    cut_off_after(moves, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fetch(cube, quiet_url)
    monkeypatch.undo()
    clean(tmp_path / "staging")
    known = zarr.open_group(cube, mode="r")
    fetched = known["status"][:] == Status.OK
    assert fetched.all() == (moves == 3) and known["digest"][:][fetched].any(axis=1).all()
    again = fetch(cube, quiet_url)[0]
    assert again.digest == undisturbed.digest == content(cube, blocks(cube)[0])
    assert again.facts["requests"] == (0 if moves == 3 else 40)


def test_a_block_that_cannot_be_read_is_fetched_whole(quiet_url, tmp_path, monkeypatch, caplog):
    cube = a_cube(tmp_path, 40)
    first = fetch(cube, quiet_url)[0]
    shard = Path(first.products[0].final)
    damaged = bytearray(shard.read_bytes())
    damaged[1000] ^= 1
    shard.write_bytes(damaged)
    # What the old status says must not outlive the old pixels.
    cut_off_after(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fetch(cube, quiet_url)
    monkeypatch.undo()
    assert "cannot be read" in caplog.text and "fetched whole" in caplog.text
    assert not zarr.open_group(cube, mode="r")["status"][:].any()
    again = fetch(cube, quiet_url)[0]
    assert again.digest == first.digest and again.facts["requests"] == 40


def test_positions_that_are_none_are_named_and_not_asked_for(quiet_url, tmp_path):
    cube = a_cube(tmp_path, 5, [np.nan, 400.0, *(position(row)[0] for row in (2, 3, 4))])
    receipt = fetch(cube, quiet_url)[0]
    assert [(f.row, f.status) for f in receipt.failures] == [
        (0, Status.BAD_POSITION),
        (1, Status.BAD_POSITION),
    ]
    assert receipt.facts["requests"] == 3


def test_a_source_that_is_down_is_an_error_of_the_source_and_leaves_nothing(tmp_path):
    cube = a_cube(tmp_path, 40)
    with pytest.raises(SourceDown, match="has not answered") as caught:
        fetch(cube, "http://127.0.0.1:9")
    assert caught.value.remedy and not list((tmp_path / "staging").rglob("*"))


def test_a_source_that_comes_back_costs_no_galaxy(sky, tmp_path):
    cube = a_cube(tmp_path, 100)
    with start(SandboxOptions(sky=str(sky)), tmp_path / "log") as sandbox:
        url = sandbox.url
    port = int(url.rstrip("/").rpartition(":")[2])
    done = threading.Event()

    def come_back() -> None:
        # The sandbox ends with the thread that started it.
        with start(SandboxOptions(sky=str(sky), port=port), tmp_path / "log"):
            done.wait(60)

    timer = threading.Timer(0.8, come_back)
    timer.start()
    try:
        source = CutoutSource(url, 17, PIXELS, 0.4, read_timeout_s=2.0, backoff_s=0.1, retries=2)
        manners = Manners(url, requests_per_second=500.0, connections=6, give_up_after_s=60.0)
        block = blocks(cube)[0]
        staging = Staging(str(tmp_path / "staging"), "fetch", block.key)
        receipt = fetch_block(cube=str(cube), block=block, source=source, manners=manners, staging=staging)
    finally:
        done.set()
        timer.join()
    assert not receipt.failures


class Odd(BaseHTTPRequestHandler):
    """A server whose every answer is wrong in one way."""

    way = ""

    def do_GET(self) -> None:
        picture = body(1)
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        if self.way == "short":
            self.send_header("Content-Length", str(len(picture) + 100))
        elif self.way == "huge":
            self.send_header("Content-Length", str(10**12))
        elif self.way == "html":
            picture = b"<html>We will be back</html>"
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for piece in (picture[k : k + 1] for k in range(1000)) if self.way == "drip" else (picture,):
                self.wfile.write(piece)
                time.sleep(0.05 if self.way == "drip" else 0.0)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def odd_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("way", "status"),
    [("short", Status.TRUNCATED), ("huge", Status.TOO_LARGE), ("html", Status.ERROR_PAGE), ("", Status.OK)],
)
def test_wrong_answers_are_named(odd_server, tmp_path, way, status):
    Odd.way = way
    cube = a_cube(tmp_path, 3)
    fetch(cube, odd_server, retries=1)
    assert set(read_block(cube, blocks(cube)[0]).status) == {status}


def test_a_server_that_drips_a_byte_at_a_time_is_left_after_the_guard_time(odd_server, tmp_path):
    Odd.way = "drip"
    cube = a_cube(tmp_path, 2)
    begun = time.monotonic()
    fetch(cube, odd_server, retries=0, connect_timeout_s=0.2, read_timeout_s=0.2)
    assert set(read_block(cube, blocks(cube)[0]).status) == {Status.TIMEOUT}
    assert time.monotonic() - begun < 15.0


def test_a_server_that_answers_nothing_but_error_pages_is_an_error_of_the_source(odd_server, tmp_path):
    Odd.way = "html"
    with pytest.raises(SourceDown, match="errors and none well"):
        fetch(a_cube(tmp_path, 128), odd_server, retries=1)
