"""What a run still needs, and what cannot fit."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.estimate import BYTES_PER_PREDICTION, GIB, fields_bytes, needs_of, price_list
from schemas.config import RunFile
from schemas.errors import PlanError
from schemas.records import Receipt

ROW_BYTES = 64 * 64 * 3


def run_file(output: Path, **changes: object) -> RunFile:
    sample = {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj", "rows_per_partition": 10, "limit": 1000}
    data = {"schema": 1, "name": "a", "output": str(output), "samples": {"spectro": sample}}
    return RunFile.model_validate({**data, "cube": {"rows_per_chunk": 50, "rows_per_block": 100}, **changes})


def planned(wanted: int, partitions: int) -> dict[str, Receipt]:
    facts = {"wanted": wanted, "partitions": [{}] * partitions}
    return {"spectro": Receipt(rows=4000, bytes=0, seconds=0.0, digest="p", facts=facts)}


def test_every_partition_is_a_query_whatever_the_limit(tmp_path: Path):
    assert needs_of(run_file(tmp_path), planned(1000, 7)).requests == 1000 + 1 + 7


def test_what_is_fetched_and_predicted_needs_no_more_disk_and_no_request(tmp_path: Path):
    chosen, plans = run_file(tmp_path), planned(950, 1)
    whole = needs_of(chosen, plans)
    assert whole.disk_gib * GIB == pytest.approx(950 * (ROW_BYTES + BYTES_PER_PREDICTION))
    for block in (0, 3, 9):
        (chosen.cube_path("spectro") / "image" / "c" / str(block)).mkdir(parents=True)
    left = needs_of(chosen, plans, predicted=100)
    assert left.disk_gib * GIB == pytest.approx(650 * ROW_BYTES + 850 * BYTES_PER_PREDICTION)
    assert left.requests == whole.requests - 300
    assert (left.blocks, left.memory_gib) == (whole.blocks, whole.memory_gib)


def test_fits_images_weigh_four_bytes_a_pixel_and_band_and_take_a_request_a_layer(tmp_path: Path):
    images = {"source": "legacy-fits", "bands": ["g", "r", "g-r", "W1"]}
    cube = {"rows_per_chunk": 50, "rows_per_block": 100, "dtype": "float32"}
    needs = needs_of(run_file(tmp_path, images=images, cube=cube), planned(950, 1))
    assert needs.disk_gib * GIB == pytest.approx(950 * (64 * 64 * 4 * 4 + BYTES_PER_PREDICTION))
    assert needs.requests == 2 * 950 + 2
    assert needs.hours == pytest.approx((2 * 950 / 20 + 2 * 1) / 3600)
    jpegs = needs_of(run_file(tmp_path), planned(950, 1))
    assert needs.memory_gib - jpegs.memory_gib == pytest.approx(3 * 100 * (64 * 64 * (16 - 3)) / GIB)


def test_requests_for_frames_are_the_most_there_can_be(tmp_path: Path):
    images, cube = (
        {"source": "sdss-frames", "bands": ["g", "r", "g-r"]},
        {"rows_per_chunk": 50, "rows_per_block": 100},
    )
    chosen = run_file(tmp_path, images=images, cube=cube)
    needs = needs_of(chosen, planned(950, 1))
    assert f"{2 * 950 + 2:,} at most: rows of one field share them" in price_list(chosen, needs)
    assert "requests   952\n" in price_list(run_file(tmp_path), needs_of(run_file(tmp_path), planned(950, 1)))


def test_fields_take_disk_for_scenes_maps_and_their_fits_files_until_sources_are_found(tmp_path: Path):
    scenes = {"source": "scenes", "bands": ["H", "V"], "pixels": 16, "arcsec_per_pixel": 0.06}
    fields = {
        "lattice": {"scene": "lattice", "shape": [200, 100]},
        "drawn": {"scene": "noise", "shape": [50, 40], "classify": False},
    }
    pixels = {"images": scenes, "model": {"preset": "morpheus"}, "maps": {"votes": ["rank", "mean"]}}
    chosen, plans = run_file(tmp_path, fields=fields, **pixels), planned(950, 1)
    maps = 4 * (1 + 5 * 3)  # how many votes; shares, means and variances of five classes
    lattice, drawn = 200 * 100 * (2 * 4 + 2 * maps + 4), 50 * 40 * 2 * 4
    assert fields_bytes(chosen) == {"lattice": lattice, "drawn": drawn}
    whole, plain = needs_of(chosen, plans), needs_of(run_file(tmp_path, **pixels), plans)
    assert (whole.disk_gib - plain.disk_gib) * GIB == pytest.approx(lattice + drawn)
    (chosen.folder / "fields" / "lattice" / "sources-1f").mkdir(parents=True)
    left = needs_of(chosen, plans)
    assert (left.disk_gib - plain.disk_gib) * GIB == pytest.approx(drawn)


def test_what_cannot_fit_is_refused(tmp_path: Path):
    chosen = run_file(tmp_path)
    needs = needs_of(chosen, planned(950, 1))
    needs.check(chosen)
    with pytest.raises(PlanError, match="GiB of disk"):
        dataclasses.replace(needs, free_gib=needs.disk_gib / 2).check(chosen)
    with pytest.raises(PlanError, match="raise cluster"):
        needs.check(run_file(tmp_path, cluster={"memory_gib": 0.5}))


def test_the_price_list_names_the_networks_and_the_search(tmp_path: Path):
    search = {"trials": 6, "epochs": 2, "fields": {"training.batch": [8, 16]}}
    chosen = run_file(tmp_path, training={"ensemble": 4}, search=search, cluster={"workers": 3})
    text = price_list(chosen, needs_of(chosen, planned(950, 1)))
    assert "4 networks of preset light, after a search of at most 6 trials of 2 epochs, on 3 workers" in text
