import json
import os
import signal
import threading
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ledger import Ledger
from pipeline.reporting import gather
from pipeline.stores import catalogue, catalogue_export, launcher
from pipeline.stores.catalogue_export import export_version
from pipeline.stores.catalogue_rows import CataloguePart, blocks, healpix, read_pdf_spec
from pipeline.stores.catalogue_versions import PdfSpec, list_versions, loaded_parts, show
from pipeline.stores.postgres import connect, translate
from pipeline.summary import closing_lines, progress_lines
from schemas.config import RunFile
from schemas.errors import DatabaseDown, DatabaseError, StoreError
from schemas.flags import Status
from schemas.records import ObjectFailure, Receipt, Unit

PDF = PdfSpec(tuple(np.linspace(0, 0.4, 9).tolist()), "float32")
STAMP = "0123456789abcdef"


@pytest.fixture
def connection(database_dsn):
    with closing(connect(database_dsn)) as connection:
        yield connection


def write_part(path, rows, *, start=0, pdf=None, seed=0, positions=None):
    """A Parquet part like those of the infer stage."""
    rng = np.random.default_rng(seed + start)
    ra, dec = positions or (rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows))))
    z = rng.gamma(2, 0.05, rows).astype("f4")
    columns = {
        "row": np.arange(start, start + rows),
        "id": np.uint64(2**64 - 1) - np.arange(start, start + rows, dtype="u8"),
        "ra": ra,
        "dec": dec,
        "z_spec": np.where(np.arange(rows) % 2, z, np.float32(np.nan)),
        "z_phot": z,
        "z_phot_err": np.full(rows, np.nan, "f4"),
        "flags": np.arange(rows, dtype="i4"),
        "split": np.full(rows, 255, "u1"),
    }
    arrays = {name: pa.array(values) for name, values in columns.items()}
    metadata = {}
    if pdf:
        bins = rng.random((rows, pdf.bins)).astype(pdf.dtype)
        arrays["pdf"] = pa.FixedSizeListArray.from_arrays(pa.array(bins.ravel()), pdf.bins)
        metadata = {b"skymill": json.dumps({"pdf_edges": pdf.edges, "pdf_dtype": pdf.dtype}).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)
    return columns | ({"pdf": bins} if pdf else {})


def part(path, key="spectro/00000", digest="d0"):
    return CataloguePart(key, path, key.split("/")[0], digest)


def publish(
    connection, tmp_path, name="photoz", *, digest="x", parts=2, rows=50, pdf=None, seed=0, target=()
):
    provenance = {"seed": seed} | ({"run_file": {"target": dict(target)}} if target else {})
    version = catalogue.begin_version(
        connection, name, digest=digest, run="r", provenance=provenance, pdf=pdf
    )
    wanted = {}
    for i in range(parts):
        path = tmp_path / f"{digest}-{i}.parquet"
        write_part(path, rows, start=i * rows, pdf=pdf, seed=seed)
        with connection, connection.cursor() as cursor:
            catalogue.load_part(
                cursor, version, part(path, f"spectro/{i:05d}", f"{digest}{i}"), provenance=STAMP
            )
        wanted[f"spectro/{i:05d}"] = f"{digest}{i}"
    return catalogue.finish_version(connection, version, parts=wanted)


def ask(connection, question, *values):
    with connection, connection.cursor() as cursor:
        cursor.execute(question, values or None)
        return cursor.fetchall()


@pytest.mark.parametrize(
    "pdf", [None, PDF, PdfSpec(PDF.edges, "float16")], ids=["points", "float32", "float16"]
)
def test_every_value_arrives_bit_by_bit(connection, tmp_path, pdf):
    truth = write_part(tmp_path / "again.parquet", 50, pdf=pdf)
    version = publish(connection, tmp_path, parts=1, pdf=pdf)
    assert (version.state, version.rows) == ("published", 50)
    got = ask(connection, f"select * from {version.table} order by id desc")
    assert [int(row[1]) for row in got] == truth["id"].tolist()
    for column, name in ((2, "ra"), (3, "dec"), (6, "z_phot"), (5, "z_spec"), (8, "flags"), (9, "split")):
        np.testing.assert_array_equal(np.array([row[column] for row in got], truth[name].dtype), truth[name])
    assert {(row[0], row[10]) for row in got} == {("spectro", STAMP)}
    if pdf:
        stored = np.frombuffer(b"".join(bytes(row[11]) for row in got), pdf.dtype).reshape(50, -1)
        np.testing.assert_array_equal(stored, truth["pdf"])


def test_the_view_says_null_where_a_number_is_not_known(connection, tmp_path):
    publish(connection, tmp_path, parts=1)
    assert ask(
        connection, "select count(z_spec), count(z_phot), count(z_phot_err) from catalogue.photoz"
    ) == [(25, 50, 0)]


@pytest.mark.parametrize(
    "pdf", [None, PDF, PdfSpec(PDF.edges, "float16")], ids=["points", "float32", "float16"]
)
def test_an_export_holds_every_value_of_the_version_in_files_of_bounded_size(
    connection, tmp_path, monkeypatch, pdf
):
    monkeypatch.setattr(catalogue_export, "FILE_ROWS", 20)
    truth = write_part(tmp_path / "again.parquet", 50, pdf=pdf)
    version = publish(connection, tmp_path, parts=1, pdf=pdf)
    paths = export_version(connection, version, tmp_path)
    tables = [pq.read_table(path) for path in paths]
    assert [table.num_rows for table in tables] == [20, 20, 10]
    table = pa.concat_tables(tables).sort_by([("id", "descending")])
    assert table.column_names == [name for name, _, _ in show(connection, "photoz").columns]
    for name in ("id", "ra", "dec", "z_spec", "z_phot", "z_phot_err", "flags", "split"):
        got = table[name].to_numpy()
        np.testing.assert_array_equal(got, truth[name])
        assert got.dtype == truth[name].dtype
    assert set(table["sample"].to_pylist()) == {"spectro"} and set(table["provenance"].to_pylist()) == {STAMP}
    np.testing.assert_array_equal(table["healpix"].to_numpy(), healpix(truth["ra"], truth["dec"]))
    if pdf:
        flat = table["pdf"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        np.testing.assert_array_equal(flat.reshape(50, -1), truth["pdf"])


VELOCITY = {"column": "velDisp", "definition": "regression"}
SIGNAL = {"column": "signal", "definition": "detection"}


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ({"column": "redshift", "definition": "wei2025"}, ["z_spec", "z_phot", "z_phot_err"]),
        (VELOCITY, ["veldisp_label", "veldisp_predicted", "veldisp_error"]),
        (SIGNAL, ["signal_label", "probability", "probability_error"]),
    ],
)
def test_columns_are_called_by_what_was_learnt(connection, tmp_path, target, names):
    truth = write_part(tmp_path / "again.parquet", 50)
    version = publish(connection, tmp_path, parts=1, target=target)
    details = show(connection, "photoz")
    assert [name for name, _, _ in details.columns[5:8]] == names
    assert all("(ucd: " in comment for _, _, comment in details.columns)
    ((label, predicted, error),) = ask(
        connection, "select count({}), count({}), count({}) from catalogue.photoz".format(*names)
    )
    assert (label, predicted, error) == (25, 50, 0)
    table = pq.read_table(export_version(connection, version, tmp_path)[0]).sort_by([("id", "descending")])
    np.testing.assert_array_equal(table[names[1]].to_numpy(), truth["z_phot"])
    np.testing.assert_array_equal(table[names[0]].to_numpy(), truth["z_spec"])


def test_a_view_goes_from_redshifts_to_another_target_and_back(connection, tmp_path):
    publish(connection, tmp_path, digest="x")
    publish(connection, tmp_path, digest="y", target=VELOCITY)
    around = "select count(*) from catalogue.photoz_cone(0, 0, 180) where veldisp_predicted > 0"
    assert ask(connection, around) == [(100,)]
    catalogue.rollback(connection, "photoz")
    assert ask(connection, around.replace("veldisp_predicted", "z_phot")) == [(100,)]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_bins_of_a_pdf_can_be_read_in_sql(connection, dtype):
    special = [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, np.finfo(dtype).tiny, np.finfo(dtype).max]
    values = np.array([*special, np.finfo(dtype).smallest_subnormal, 1 / 3], f"<{np.dtype(dtype).str[1:]}")
    got = ask(connection, "select skymill.pdf_bins(%s, %s)", values.tobytes(), len(values))[0][0]
    np.testing.assert_array_equal(np.array(got, "f4"), values.astype("f4"))


def test_part_and_receipt_are_committed_together_or_not_at_all(database_dsn, connection, tmp_path):
    write_part(tmp_path / "p.parquet", 10)
    unit, receipt = Unit("publish", "spectro/00000", "i"), Receipt(10, 0, 0.1, "d0")
    version = catalogue.begin_version(connection, "photoz", digest="x", run="r", provenance={})

    def load(cursor):
        catalogue.load_part(cursor, version, part(tmp_path / "p.parquet"), provenance=STAMP)

    def break_off():
        raise RuntimeError("pulled the plug")

    with Ledger.open(database_dsn) as ledger:
        ledger.open_run("r", {}, provenance={}, seed=1)
        ledger.todo([unit])
        with pytest.raises(RuntimeError):
            ledger.accept(unit, ledger.begin(unit), receipt, also=load, place=break_off)
        assert not loaded_parts(connection, version) and not ledger.receipts("publish")
        assert ask(connection, f"select count(*) from {version.table}") == [(0,)]
        assert ledger.accept(unit, ledger.begin(unit), receipt, also=load)
    assert loaded_parts(connection, version) == {"spectro/00000": ("d0", 10)}


def test_a_database_killed_while_a_part_is_loaded_or_the_view_swapped_publishes_the_same_bytes(tmp_path):
    directory, texts = tmp_path / "db", []
    for i in range(3):
        write_part(tmp_path / f"{i}.parquet", 20_000, start=i * 20_000, pdf=PDF)
    parts = [part(tmp_path / f"{i}.parquet", f"spectro/{i:05d}", f"d{i}") for i in range(3)]
    for delays in ([], [0.03, 0.1, 0.3]):
        name = "killed" if delays else "calm"
        for delay in [*delays, None]:
            Ledger.open(launcher.start(directory)).close()
            with closing(connect(launcher.start(directory))) as connection:
                pid = launcher.status(directory).pid
                timer = threading.Timer(delay or 60, os.kill, (pid, signal.SIGKILL))
                timer.start()
                try:
                    version = catalogue.begin_version(
                        connection, name, digest="x", run="r", provenance={}, pdf=PDF
                    )
                    for each in parts:
                        with translate(), connection, connection.cursor() as cursor:
                            catalogue.load_part(cursor, version, each, provenance=STAMP)
                    wanted = {each.key: each.digest for each in parts}
                    version = catalogue.finish_version(connection, version, parts=wanted)
                except DatabaseDown:
                    assert delay
                if delay:
                    timer.join()
                else:
                    timer.cancel()
        with closing(connect(launcher.start(directory))) as connection, connection.cursor() as cursor:
            (tmp_path / "out").unlink(missing_ok=True)
            with (tmp_path / "out").open("w") as file:
                cursor.copy_expert(
                    f"copy (select * from catalogue.{name} order by sample, id) to stdout", file
                )
            texts.append((tmp_path / "out").read_bytes())
        assert (version.version, version.rows, version.state) == (1, 60_000, "published")
    assert texts[0] == texts[1]
    launcher.stop(directory)


def test_a_part_is_loaded_once_and_another_one_in_its_place_is_refused(connection, tmp_path):
    write_part(tmp_path / "p.parquet", 10)
    version = catalogue.begin_version(connection, "photoz", digest="x", run="r", provenance={})
    with connection, connection.cursor() as cursor:
        assert catalogue.load_part(cursor, version, part(tmp_path / "p.parquet"), provenance=STAMP) == 10
        assert catalogue.load_part(cursor, version, part(tmp_path / "p.parquet"), provenance=STAMP) == 0
        with pytest.raises(DatabaseError, match="another spectro/00000"):
            catalogue.load_part(cursor, version, part(tmp_path / "p.parquet", digest="d1"), provenance=STAMP)


def test_an_unfinished_version_is_continued_and_a_complete_one_found(connection, tmp_path):
    first = catalogue.begin_version(connection, "photoz", digest="x", run="r", provenance={}, pdf=PDF)
    assert catalogue.begin_version(connection, "photoz", digest="x", run="r", provenance={}, pdf=PDF) == first
    done = publish(connection, tmp_path, pdf=PDF)
    assert (done.version, done.state, done.pdf) == (1, "published", PDF)
    assert catalogue.begin_version(connection, "photoz", digest="x", run="r", provenance={}) == done
    assert catalogue.finish_version(connection, done, parts={}) == done


def test_missing_parts_and_lost_rows_are_not_published(connection, tmp_path):
    write_part(tmp_path / "p.parquet", 10)
    version = catalogue.begin_version(connection, "photoz", digest="x", run="r", provenance={})
    with connection, connection.cursor() as cursor:
        catalogue.load_part(cursor, version, part(tmp_path / "p.parquet"), provenance=STAMP)
    with pytest.raises(DatabaseError, match="spectro/00001"):
        catalogue.finish_version(connection, version, parts={"spectro/00000": "d0", "spectro/00001": "d1"})
    ask(connection, f"delete from {version.table} where flags = 3 returning 1")
    with pytest.raises(DatabaseError, match="expected 10 rows, found 9"):
        catalogue.finish_version(connection, version, parts={"spectro/00000": "d0"})
    assert ask(connection, "select to_regclass('catalogue.photoz') is null") == [(True,)]


def test_an_object_that_is_there_twice_is_named(connection, tmp_path):
    write_part(tmp_path / "p.parquet", 10)
    version = catalogue.begin_version(connection, "photoz", digest="x", run="r", provenance={})
    with connection, connection.cursor() as cursor:
        for key in ("spectro/00000", "spectro/00001"):
            catalogue.load_part(cursor, version, part(tmp_path / "p.parquet", key), provenance=STAMP)
    with pytest.raises(DatabaseError, match=r"spectro, 18446744073709551\d+"):
        catalogue.finish_version(connection, version, parts={"spectro/00000": "d0", "spectro/00001": "d0"})


def test_versions_swap_roll_back_and_drop(connection, tmp_path):
    publish(connection, tmp_path, digest="x", rows=10)
    ask(connection, "create view public.mine as select id from catalogue.photoz; select 1")
    publish(connection, tmp_path, digest="y", rows=20, seed=1)
    count = "select count(*) from catalogue.photoz"
    assert ask(connection, count) == [(40,)]
    assert ask(connection, "select count(*) from public.mine") == [(40,)]
    assert [each.state for each in list_versions(connection, "photoz")] == ["retired", "published"]
    assert catalogue.rollback(connection, "photoz").version == 1
    assert ask(connection, count) == [(20,)]
    with pytest.raises(DatabaseError, match="no version to go back to"):
        catalogue.rollback(connection, "photoz")
    with pytest.raises(DatabaseError, match="is the current version"):
        catalogue.drop(connection, "photoz", 1)
    catalogue.drop(connection, "photoz", 2)
    assert [each.version for each in list_versions(connection)] == [1]
    assert publish(connection, tmp_path, digest="y", rows=20, seed=1).version == 3


def test_a_report_counts_what_receipts_say_and_names_the_version_the_view_shows(
    connection, database_dsn, tmp_path
):
    samples = {"spectro": {"sql": "SELECT * FROM SpecObj"}}
    run_file = RunFile.model_validate({"schema": 1, "name": "r", "samples": samples, "output": str(tmp_path)})
    publish(connection, tmp_path, digest="x", rows=10)
    newest = publish(connection, tmp_path, digest="y", rows=20)
    trained = {"code": "c", "packages": {}, "history": [{"epoch": 1, "loss": 1.0, "val_loss": 1.0}]}
    twice = ObjectFailure("spectro", 0, 5, Status.DUPLICATE)  # one is listed, of the 7 that there are
    receipts = {
        "rows": {"spectro": Receipt(60, 0, 1, "d", failures=(twice,), facts={"duplicates": 7})},
        "fetch": {"spectro/00000": Receipt(60, 0, 1, "d", failures=(), facts={"ok": 40}, worker="h:1")},
        "train": {"model": Receipt(40, 0, 16.0, "d", facts=trained, worker="h:1")},
        "infer": {"spectro/00000": Receipt(40, 0, 1, "d", worker="h:2")},
        "publish": {"photoz": Receipt(40, 0, 1, "d", facts={"version": 2, "provenance": STAMP})},
    }
    with Ledger.open(database_dsn) as ledger:
        ledger.open_run("r", {}, provenance={}, seed=1)
        for stage, by_key in receipts.items():
            for key, receipt in by_key.items():
                unit = Unit(stage, key, "i")
                ledger.todo([unit])
                assert ledger.accept(unit, ledger.begin(unit), receipt)
        facts = gather(run_file, ledger, receipts, psql="psql")
        assert (facts.version, facts.published_rows) == (newest.version, 40)
        assert facts.version_words == "version 2"
        catalogue.rollback(connection, "photoz")
        facts = gather(run_file, ledger, receipts, psql="psql")
        status = progress_lines(ledger)
    assert (facts.version, facts.published_rows, facts.newest) == (1, 20, 2)
    (sample,) = facts.samples
    assert (sample.asked, sample.fetched, sample.failed, sample.predicted) == (60, 40, 20, 40)
    assert list(facts.timeline) == ["fetch", "train", "infer", "publish"]
    assert facts.timeline["train"][0].seconds == 16.0
    said = dict(line.split(maxsplit=1) for line in closing_lines(facts, report="report.html"))
    assert said["published"] == "20 as catalogue.photoz, version 1 (rolled back; the newest is version 2)"
    assert said["duplicates"].startswith("7 keys") and said["failed"] == "20"
    assert "twice     7 keys of spectro came more than once; one row of each is kept" in status


def test_a_version_with_other_columns_takes_over_the_view_and_its_cone_search(connection, tmp_path):
    publish(connection, tmp_path, digest="x")
    publish(connection, tmp_path, digest="y", pdf=PDF)
    assert ask(connection, "select count(pdf) from catalogue.photoz_cone(0, 0, 180)") == [(100,)]
    catalogue.rollback(connection, "photoz")
    assert "pdf" not in [
        name
        for name, _, _ in ask(
            connection, "select column_name, 1, 1 from information_schema.columns where table_name = 'photoz'"
        )
    ]


def test_two_builds_of_the_same_parts_give_the_same_bytes(connection, tmp_path, database_dsn):
    one = publish(connection, tmp_path, "one", pdf=PDF)
    publish(connection, tmp_path, "two", digest="old")
    two = publish(connection, tmp_path, "two", pdf=PDF)
    texts = []
    for table in (one.table, two.table):
        path = tmp_path / "out"
        with path.open("w") as file, connection.cursor() as cursor:
            cursor.copy_expert(f"copy (select * from {table} order by sample, id) to stdout", file)
        texts.append(path.read_bytes())
    assert two.version == 2
    assert texts[0] == texts[1] and len(texts[0]) > 1000


def test_every_column_of_table_and_view_has_a_meaning_with_a_ucd(connection, tmp_path):
    version = publish(connection, tmp_path, pdf=PDF)
    details = show(connection, "photoz")
    assert details.version == version and len(details.parts) == 2
    assert all(comment and "(ucd: " in comment for _, _, comment in details.columns)
    on_view = ask(
        connection, "select col_description('catalogue.photoz'::regclass, n) from generate_series(1, 12) n"
    )
    assert [row[0] for row in on_view] == [comment for _, _, comment in details.columns]


@pytest.mark.parametrize("name", ["Photoz", "photoz_v1", "photoz_cone", "x; drop table y", ""])
def test_names_that_would_collide_are_refused(connection, name):
    with pytest.raises(DatabaseError, match="cannot be the name"):
        catalogue.begin_version(connection, name, digest="x", run="r", provenance={})


def test_damaged_parts_are_named_with_their_remedy(tmp_path):
    write_part(tmp_path / "good.parquet", 10, pdf=PDF)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "good.parquet").read_bytes()[:-100])
    table = pq.read_table(tmp_path / "good.parquet")
    pq.write_table(table.drop_columns(["flags"]), tmp_path / "short.parquet")
    for name, pdf, said in [
        ("cut", PDF, "damaged"),
        ("gone", PDF, "missing"),
        ("short", PDF, "column flags"),
        ("good", None, "expected the PDF"),
    ]:
        with pytest.raises(StoreError, match=said):
            list(blocks(part(tmp_path / f"{name}.parquet"), pdf, provenance=STAMP))
    assert read_pdf_spec(tmp_path / "good.parquet") == PDF


def brute_force(ra, dec, ra0, dec0, radius):
    ra, dec, ra0, dec0 = (np.radians(x) for x in (ra, dec, ra0, dec0))
    h = np.sin((dec - dec0) / 2) ** 2 + np.cos(dec) * np.cos(dec0) * np.sin((ra - ra0) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.minimum(1, np.sqrt(h)))) <= radius


def test_cone_search_finds_what_brute_force_finds(connection, tmp_path):
    rng = np.random.default_rng(5)
    n = 5_000
    centres = [
        (0, 90),
        (123, 90),
        (77, -90),
        (0, 0),
        (359.9999, 12),
        (0.0001, -41.8),
        (45, 41.81),
        (180, 66),
        (266.4, -29),
        (315, 89.99),
        (370, 5),
        (-30, -5),
    ]
    near = [
        (ra0 + rng.normal(0, s / max(np.cos(np.radians(d0)), 1e-3), 60), d0 + rng.normal(0, s, 60))
        for ra0, d0 in centres
        for s in (0.0005, 0.02, 1)
    ]
    ra = np.concatenate([rng.uniform(0, 360, n), *[x for x, _ in near]]) % 360
    dec = np.clip(
        np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, n))), *[y for _, y in near]]), -90, 90
    )
    ra[0], dec[0] = np.nan, np.nan
    version = catalogue.begin_version(connection, "sky", digest="x", run="r", provenance={})
    truth = write_part(tmp_path / "sky.parquet", len(ra), positions=(ra, dec))
    with connection, connection.cursor() as cursor:
        catalogue.load_part(cursor, version, part(tmp_path / "sky.parquet"), provenance=STAMP)
    catalogue.finish_version(connection, version, parts={"spectro/00000": "d0"})
    hits = 0
    for ra0, dec0 in [*centres, *zip(rng.uniform(0, 360, 8), rng.uniform(-90, 90, 8), strict=True)]:
        for radius in (0, 0.0003, 0.001, 0.03, 0.7, 5, 30, 100, 180):
            expected = set(truth["id"][brute_force(ra, dec, ra0, dec0, radius)].tolist())
            got = [
                int(row[0])
                for row in ask(
                    connection,
                    "select id from catalogue.sky_cone(%s, %s, %s)",
                    float(ra0),
                    float(dec0),
                    radius,
                )
            ]
            assert len(got) == len(set(got)) and set(got) == expected, (ra0, dec0, radius)
            hits += len(got) if radius < 1 else 0
    assert hits > 5000
    with pytest.raises(DatabaseError, match="expected dec -90 to 90"), translate():
        ask(connection, "select id from catalogue.sky_cone(0, 91, 1)")


@pytest.mark.slow
def test_cone_search_uses_the_index(connection, tmp_path):
    publish(connection, tmp_path, parts=4, rows=50_000)
    plan = "\n".join(
        row[0] for row in ask(connection, "explain analyze select * from catalogue.photoz_cone(150, 2, 0.5)")
    )
    print(plan)
    assert "photoz_v1_healpix_idx" in plan and "Seq Scan" not in plan, plan
