"""The sandbox over real HTTP, as a child process, against plain clients and astroquery."""

import http.client
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import psutil
import pytest
from astroquery.exceptions import RemoteServiceError
from astroquery.sdss import SDSS, conf
from PIL import Image

from pipeline.sandbox.answers import OUTSIDE_TEXT, black_tile
from pipeline.sandbox.faults import FaultPlan
from pipeline.sandbox.options import TRANSIENT_KINDS, Faults, SandboxOptions
from pipeline.sandbox.parameters import read_cutout
from pipeline.sandbox.process import SandboxProcess, start
from schemas.errors import SourceError

# astropy says that it reads ids past 2**63 as text first; skymill's own client reads them likewise
pytestmark = pytest.mark.filterwarnings("ignore:OverflowError converting to IntType")

SEED_QUERY = (
    "SELECT specobjid, ra, dec, z, zErr, velDisp, velDispErr FROM SpecObj WHERE class='Galaxy' "
    "AND specobjid < 9223372036854775807 AND zOffset=0 AND zWarning=0 AND zErr>0 AND z>zErr*10000 "
    "AND velDispErr>0 AND velDisp>velDispErr*10"
)


BROKEN = Faults(transient=1.0, sql_transient=1.0, stall_s=30.0)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with start(SandboxOptions(row_cap=9000), tmp_path_factory.mktemp("sandbox") / "log") as process:
        yield process


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox that breaks the first answer or two to every request, in all ways."""
    log = tmp_path_factory.mktemp("broken") / "log"
    with start(SandboxOptions(faults=BROKEN), log) as process:
        yield process
    assert log.read_text() == ""


def get(url: str, data: bytes | None = None, timeout_s: float = 20.0) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(url, data, timeout_s) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, dict(fault.headers), fault.read()


def sql(base: str, query: str, form: str = "json") -> tuple[int, dict[str, str], bytes]:
    words = urlencode({"cmd": query, "format": form})
    return get(f"{base}dr17/SkyServerWS/SearchTools/SqlSearch?{words}")


def rows(base: str, query: str) -> list[dict[str, Any]]:
    status, _, body = sql(base, query)
    assert status == 200, body
    [table] = json.loads(body)
    return table["Rows"]


def cutout_url(base: str, ra: float, dec: float, scale: float = 0.4, size: int = 64) -> str:
    return (
        f"{base}dr17/SkyServerWS/ImgCutout/getjpeg?ra={ra}&dec={dec}&scale={scale}&width={size}&height={size}"
    )


def stats(base: str) -> dict[str, Any]:
    return json.loads(get(f"{base}_stats")[2])


def positions(base: str, n: int) -> list[tuple[float, float]]:
    return [
        (row["ra"], row["dec"])
        for row in rows(base, f"SELECT TOP {n} ra, dec FROM SpecObj ORDER BY specObjID")
    ]


def query_by_astroquery(base: str, query: str) -> Any:
    with conf.set_temp("skyserver_baseurl", base):
        return SDSS.query_sql(query, data_release=17, cache=False)


def test_astroquery_passes_unsigned_ids_exactly_with_and_without_a_trailing_slash(
    sandbox: SandboxProcess,
) -> None:
    exact = sorted(row["specobjid"] for row in rows(sandbox.url, "SELECT specobjid FROM SpecObj"))
    assert len(exact) > 7000 and exact[-1] >= 2**63
    for base in (sandbox.url, sandbox.url.rstrip("/")):
        table = query_by_astroquery(base, "SELECT specobjid FROM SpecObj")
        assert table["specobjid"].dtype == np.uint64
        assert sorted(int(number) for number in table["specobjid"]) == exact


def test_the_seeds_query_keeps_a_fair_share_and_the_widened_one_more(sandbox: SandboxProcess) -> None:
    table = query_by_astroquery(sandbox.url, SEED_QUERY)
    assert table.colnames == ["specobjid", "ra", "dec", "z", "zErr", "velDisp", "velDispErr"]
    assert 1500 < len(table) < 6000
    assert (table["z"] > table["zErr"] * 9999).all() and (table["velDisp"] > table["velDispErr"] * 9.99).all()
    wide = query_by_astroquery(sandbox.url, SEED_QUERY.replace("AND specobjid < 9223372036854775807", ""))
    assert set(table["specobjid"]) < set(wide["specobjid"])
    late = np.asarray(wide["specobjid"]) >= np.uint64(2**63)
    assert 0.02 < late.mean() < 0.12


def test_the_grouped_count_by_plate_adds_up(sandbox: SandboxProcess) -> None:
    counted = query_by_astroquery(
        sandbox.url, "SELECT plate, COUNT(*) AS n FROM SpecObj GROUP BY plate ORDER BY plate"
    )
    assert list(counted["plate"]) == sorted(counted["plate"])
    [total] = rows(sandbox.url, "SELECT COUNT(*) FROM SpecObj")
    assert counted["n"].sum() == total["Column1"]


def test_the_id_holds_plate_fibre_and_day(sandbox: SandboxProcess) -> None:
    for row in rows(
        sandbox.url, "SELECT TOP 500 specObjID, plate, mjd, fiberID FROM SpecObjAll ORDER BY NEWID()"
    ):
        number = row["specObjID"]
        assert (number >> 50, (number >> 38) % 4096, (number >> 24) % 16384 + 50000) == (
            row["plate"], row["fiberID"], row["mjd"],
        )  # fmt: skip


def test_spectra_join_their_photometry(sandbox: SandboxProcess) -> None:
    joined = rows(
        sandbox.url,
        "SELECT s.specObjID, s.ra, p.ra AS photo_ra, p.specObjID AS back, p.type, s.class FROM SpecObj AS s "
        "JOIN PhotoObj AS p ON s.bestObjID = p.objID",
    )
    assert len(joined) == rows(sandbox.url, "SELECT COUNT(*) n FROM SpecObj")[0]["n"]
    assert all(row["ra"] == row["photo_ra"] and row["back"] == row["specObjID"] for row in joined)
    assert {(row["class"], row["type"]) for row in joined} == {("GALAXY", 3), ("STAR", 6), ("QSO", 6)}


def test_galaxies_without_a_spectrum_survive_a_left_join(sandbox: SandboxProcess) -> None:
    query = "SELECT g.objID, s.z FROM Galaxy g LEFT JOIN SpecObj s ON s.bestObjID = g.objID"
    shares = [row["z"] is None for row in rows(sandbox.url, f"{query} WHERE g.dec > 20")]
    assert 0.28 < np.mean(shares) < 0.39


def test_repeats_are_in_specobjall_only(sandbox: SandboxProcess) -> None:
    [every] = rows(sandbox.url, "SELECT COUNT(*) n, COUNT(DISTINCT specObjID) d FROM SpecObjAll")
    [primary] = rows(sandbox.url, "SELECT COUNT(*) n, COUNT(DISTINCT bestObjID) d FROM SpecObj")
    assert every["n"] == every["d"] > primary["n"] == primary["d"]


def test_nearby_objects_are_found_by_sdss_function(sandbox: SandboxProcess) -> None:
    [(ra, dec)] = positions(sandbox.url, 1)
    near = rows(
        sandbox.url, f"SELECT objID, distance FROM dbo.fGetNearbyObjEq({ra}, {dec}, 0.5) ORDER BY distance"
    )
    assert near and near[0]["distance"] < 1e-4


def test_a_post_is_answered_as_a_get(sandbox: SandboxProcess) -> None:
    data = urlencode({"cmd": "SELECT TOP 2 plate FROM SpecObj", "format": "csv"}).encode()
    status, headers, body = get(f"{sandbox.url}dr16/en/tools/search/X_Results.aspx", data)
    assert status == 200 and headers["Content-Type"].startswith("text/csv")
    assert body.decode().splitlines()[:2] == ["#Table1", "plate"]


def test_a_rejected_query_is_an_error_that_astroquery_recognises(sandbox: SandboxProcess) -> None:
    for query in ("SELECT nothing FROM SpecObj", "SELECT z FROM Nowhere", "DROP TABLE SpecObj"):
        with pytest.raises(RemoteServiceError, match="error_message"):
            query_by_astroquery(sandbox.url, query)
        status, _, body = sql(sandbox.url, query)
        assert status == 400 and b"error_message" in body
    assert rows(sandbox.url, "SELECT COUNT(*) n FROM SpecObj")[0]["n"] > 0


def test_the_files_of_the_machine_cannot_be_read(sandbox: SandboxProcess) -> None:
    for source in ("read_csv('/etc/passwd')", "read_text('/etc/passwd')", "'/etc/passwd'", "glob('/*')"):
        status, _, body = sql(sandbox.url, f"SELECT * FROM {source}")
        assert status == 400 and b"root:" not in body


def test_rows_beyond_the_cap_are_cut_off_and_counted(sandbox: SandboxProcess) -> None:
    assert len(rows(sandbox.url, "SELECT objID FROM PhotoObjAll")) == 9000
    assert stats(sandbox.url)["rows_capped"] >= 1


def test_an_over_long_query_string_is_refused_in_aspnet_words(sandbox: SandboxProcess) -> None:
    query = "SELECT z FROM SpecObj WHERE plate IN (" + ",".join(["1"] * 9000) + ")"
    status, _, body = sql(sandbox.url, query)
    assert status == 400 and b"maxQueryStringLength" in body
    posted = urlencode({"cmd": query}).encode()
    assert get(f"{sandbox.url}dr17/SkyServerWS/SearchTools/SqlSearch", posted)[0] == 200


def test_a_cutout_is_a_jpeg_of_the_size_asked_for_and_always_the_same(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    places = positions(sandbox.url, 5)
    first = [get(cutout_url(sandbox.url, *at, scale=0.3, size=128)) for at in places]
    for status, headers, body in first:
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        image = Image.open(io.BytesIO(body))
        assert image.size == (128, 128) and np.asarray(image).std() > 2
    with start(SandboxOptions(cache_dir=tmp_path / "cache"), tmp_path / "log") as other:
        assert [get(cutout_url(other.url, *at, scale=0.3, size=128))[2] for at in places] == [
            body for _, _, body in first
        ]
    with start(SandboxOptions(cache_dir=tmp_path / "cache", seed=5), tmp_path / "log") as reseeded:
        assert get(cutout_url(reseeded.url, *places[0], scale=0.3, size=128))[2] != first[0][2]


def test_a_position_off_the_footprint_is_not_found(sandbox: SandboxProcess) -> None:
    status, _, body = get(cutout_url(sandbox.url, 90.0, -85.0))
    assert status == 404
    assert body == b"NOT FOUND. Requested (ra, dec) is outside the SDSS footprint."


def test_a_wrong_size_is_a_bad_request(sandbox: SandboxProcess) -> None:
    status, _, body = get(cutout_url(sandbox.url, 150.0, 20.0, size=20))
    assert status == 400 and b"2048" in body


def test_the_loop_keeps_answering_while_it_draws_a_big_cutout(sandbox: SandboxProcess) -> None:
    [(ra, dec)] = positions(sandbox.url, 1)
    with ThreadPoolExecutor(1) as pool:
        begun, slowest = time.monotonic(), 0.0
        drawing = pool.submit(get, cutout_url(sandbox.url, ra, dec, size=2048), timeout_s=300)
        while not drawing.done():
            before = time.monotonic()
            stats(sandbox.url)
            slowest = max(slowest, time.monotonic() - before)
    assert drawing.result()[0] == 200
    assert slowest < 0.5 * (time.monotonic() - begun)


def test_memory_stays_below_half_a_gibibyte(sandbox: SandboxProcess) -> None:
    for ra, dec in positions(sandbox.url, 300):
        get(cutout_url(sandbox.url, ra, dec))
    assert psutil.Process(sandbox.pid).memory_info().rss < 500 * 2**20


def outcome(url: str, timeout_s: float = 15.0) -> str:
    """Ask once, on a connection of its own, and name what came back."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        body = answer.read()
    except TimeoutError:
        return "stall"
    except (ConnectionError, http.client.HTTPException):
        return "reset"
    finally:
        connection.close()
    if answer.status != 200:
        assert answer.status == 500 or answer.getheader("Retry-After") == "1"
        return {500: "error_500", 503: "unavailable_503", 429: "too_many_429", 404: "outside"}[answer.status]
    if b"<html" in body:
        return "html_200"
    try:
        pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    except OSError:
        return "truncated"
    return "ok" if pixels.max() > 0 else "black_200"


@pytest.mark.parametrize("kind", TRANSIENT_KINDS)
def test_each_kind_of_fault_looks_as_named_and_a_retry_succeeds(
    kind: str, sandbox: SandboxProcess, broken: SandboxProcess
) -> None:
    patience_s = 2.0 if kind == "stall" else 15.0
    at = next(at for at in positions(sandbox.url, 100) if fate_of(*at) == kind)
    before = stats(broken.url)["faults"].get(kind, 0)
    seen = [outcome(cutout_url(broken.url, *at), patience_s) for _ in range(3)]
    assert seen[0] == kind and seen[-1] == "ok" and set(seen) == {kind, "ok"}
    assert stats(broken.url)["faults"][kind] - before == seen.count(kind)


def fate_of(ra: float, dec: float) -> str | None:
    """Return what the broken sandbox does to the first request for a cutout."""
    words = {"ra": f"{ra}", "dec": f"{dec}", "scale": "0.4", "width": "64", "height": "64"}
    wanted = read_cutout(words)
    return FaultPlan(BROKEN).of_cutout(wanted.ra, wanted.dec, wanted.geometry)


@pytest.mark.parametrize("kind", ["html_200", "unavailable_503"])
def test_queries_fail_and_recover_too(kind: str, broken: SandboxProcess) -> None:
    queries = (f"SELECT TOP 1 z FROM SpecObj WHERE plate > {number}" for number in itertools.count())
    query = next(query for query in queries if FaultPlan(BROKEN).of_sql(query) == kind)
    seen = [sql(broken.url, query, "csv") for _ in range(3)]
    assert seen[0][0] == (200 if kind == "html_200" else 503)
    assert b"#Table1" not in seen[0][2] and seen[-1][2].startswith(b"#Table1")


def test_positions_outside_by_decree_stay_outside_as_404_or_as_a_tile(tmp_path: Path) -> None:
    with start(SandboxOptions(faults=Faults(outside=0.2, seed=3)), tmp_path / "log") as far:
        places = positions(far.url, 24)
        seen = [[get(cutout_url(far.url, *at))[0] for at in places] for _ in range(2)]
        assert seen[0] == seen[1] and 1 < seen[0].count(404) < 12
    decreed = Faults(outside=0.2, seed=3, outside_as="tile")
    tile = black_tile(64, 64, OUTSIDE_TEXT)
    with start(SandboxOptions(faults=decreed), tmp_path / "log") as tiled:
        for at, status in zip(places, seen[0], strict=True):
            code, _, body = get(cutout_url(tiled.url, *at))
            assert code == 200 and (body == tile) == (status == 404)


def test_a_client_above_the_rate_is_told_and_counted(tmp_path: Path) -> None:
    with start(SandboxOptions(rate_limit_per_s=5), tmp_path / "log") as slow:
        begun = time.monotonic()
        codes = [get(f"{slow.url}dr17/nothing")[0] for _ in range(30)]
        took_s = time.monotonic() - begun
        seen = stats(slow.url)
        assert (
            codes.count(429)
            == seen["violations"]["rate"]["count"]
            == len(seen["violations"]["rate"]["times_s"])
        )
        assert 24 - 5 * took_s <= codes.count(429) <= 25
        assert abs(seen["violations"]["rate"]["times_s"][0] - time.time()) < 60


def test_a_connection_above_the_limit_is_refused_those_before_it_go_on_and_latency_is_added(
    tmp_path: Path,
) -> None:
    with start(SandboxOptions(connection_limit=2, latency_s=0.3), tmp_path / "log") as small:
        parts = urlsplit(small.url)
        connections = [
            http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5) for _ in range(3)
        ]
        codes, taken_s = [], []
        for connection in [*connections, connections[0]]:
            before = time.monotonic()
            connection.request("GET", "/dr17/nothing")
            answer = connection.getresponse()
            codes.append(answer.status)
            answer.read()
            taken_s.append(time.monotonic() - before)
        for connection in connections:
            connection.close()
        assert codes == [404, 404, 503, 404]
        assert min(second for code, second in zip(codes, taken_s, strict=True) if code == 404) >= 0.3
        seen = stats(small.url)
        assert seen["violations"]["connections"]["count"] == 1 and seen["connections"]["peak"] == 3


def test_it_ends_with_status_zero_on_sigterm_even_while_an_answer_hangs(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    faults = Faults(transient=1.0, kinds=("stall",))
    [at] = positions(sandbox.url, 1)
    with start(SandboxOptions(faults=faults), tmp_path / "log") as process:
        assert outcome(cutout_url(process.url, *at), 0.5) == "stall"
        process.stop()
        assert process._process.returncode == 0


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom pipeline.sandbox.options import SandboxOptions\n"
        "from pipeline.sandbox.process import start\n"
        "print(start(SandboxOptions(), Path(sys.argv[1])).pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, check=False
    )
    child = int(parent.stdout)
    deadline = time.monotonic() + 10
    while _alive(child):
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SourceError, match=f"cannot listen on 127.0.0.1:{port}.*\n.*remedy"):
            start(SandboxOptions(port=port), tmp_path / "log")


def test_it_listens_on_loopback_only(sandbox: SandboxProcess) -> None:
    listening = [
        c.laddr.ip for c in psutil.Process(sandbox.pid).net_connections() if c.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


def test_the_command_line_verb_says_where_it_is(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "pipeline.sandbox.main",
        "--port",
        "0",
        "--transient",
        "0.1",
        "--rate",
        "50",
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | {"HOME": str(tmp_path)}
    ) as verb:
        assert verb.stdout is not None
        line = verb.stdout.readline()
        assert line.startswith("sandbox ready http://127.0.0.1:")
        verb.send_signal(signal.SIGINT)
        assert verb.wait(10) == 0
