"""What is asked of ``skymill scale``, and what is made of its measurements: splits, comparison, words, the table."""

import csv
from argparse import Namespace
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.scale.bottleneck import Asked, bottleneck
from pipeline.scale.measuring import (
    COLUMNS,
    Measurement,
    Split,
    compared,
    fetch_told_apart,
    split_of,
    write_csv,
)
from pipeline.scaling import Wish, of_scaling
from schemas.config import Politeness, RunFile
from schemas.errors import PlanError
from schemas.ledger_rows import TimelinePoint
from schemas.records import Receipt

END = datetime(2026, 1, 1, tzinfo=UTC)
POLITE = Politeness()


def asked(**given: object) -> Namespace:
    return Namespace(**{"nodes": "1,2", "stage": "fetch", "weak": False, "repeats": 3, "blocks": 10, **given})


def measured(**given: object) -> Measurement:
    plain = {"stage": "infer", "nodes": 2, "repeat": 1, "wall_s": 10.0, "rows": 100, "units": 100, "slots": 2}
    return Measurement(**{**plain, "cores": 8, "rows_per_s": 10.0, "split": Split(work_s=20.0), **given})


def point(worker: str, *, before_s: float, seconds: float) -> TimelinePoint:
    return TimelinePoint(END - timedelta(seconds=before_s), 10, 0, seconds, worker)


@pytest.mark.parametrize("nodes", ["0", "1,0", "two", "1,,2", "-1", "", "1;2"])
def test_numbers_of_nodes_that_cannot_be_are_refused(nodes):
    with pytest.raises(PlanError, match="--nodes: expected whole numbers from 1"):
        Wish.of(asked(nodes=nodes))


def test_all_faults_of_the_command_line_are_told_at_once():
    with pytest.raises(PlanError, match=r"each number once, found '2,2'\n--repeats.*\n--blocks"):
        Wish.of(asked(nodes="2,2", repeats=0, blocks=-1))


def test_every_repeat_has_each_number_once_in_an_order_of_its_own():
    wish = Wish((1, 2, 4, 8), repeats=20)
    turns = wish.turns(137)
    assert Counter(turns) == Counter((n, r) for n in wish.nodes for r in range(1, 21))
    orders = {tuple(n for n, r in turns if r == repeat) for repeat in range(1, 21)}
    assert len(orders) > 5
    assert turns == wish.turns(137) != wish.turns(138)


def test_a_wish_survives_the_way_through_the_command_line():
    wish = Wish((1, 4), "none", weak=True, repeats=2, blocks=7)
    words = dict(zip(wish.words, wish.words[1:], strict=False))
    assert "--weak" in wish.words
    given = {name: words[f"--{name}"] for name in ("nodes", "stage", "repeats", "blocks")}
    given |= {"repeats": int(given["repeats"]), "blocks": int(given["blocks"])}
    assert Wish.of(asked(weak=True, **given)) == wish


def test_the_run_that_is_measured_touches_nothing_of_the_users_own():
    sample = {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}
    own = RunFile.model_validate(
        {"schema": 1, "name": "r", "samples": {"spectro": sample}, "cube": {"path": "/c"}}
    )
    run_file = of_scaling(own, Wish((1, 8, 2)))
    assert run_file.name == "r-scale" and run_file.folder != own.folder
    assert run_file.cube_folder.is_relative_to(run_file.folder)
    assert run_file.catalogue.name != own.catalogue.name
    assert run_file.cluster.workers == 8
    assert of_scaling(run_file, Wish((1, 8, 2))) == run_file


def test_the_time_of_all_slots_is_told_apart_and_adds_up():
    points = [
        point("a", before_s=5, seconds=3),
        point("a", before_s=1, seconds=3),
        point("b", before_s=0, seconds=9),
    ]
    split = split_of(points, wall_s=10, nodes=3, slots=3)
    assert split == Split(work_s=15, scheduler_s=4, idle_s=11)
    assert split.total_s == 30


def test_clocks_that_differ_do_not_make_more_time_than_there_was():
    split = split_of([point("a", before_s=0, seconds=14)], wall_s=10, nodes=1, slots=1)
    assert split.total_s == pytest.approx(10)


def test_waiting_and_writing_are_taken_out_of_the_work_of_a_fetch():
    facts = {"fetch_s": 6.0, "decode_s": 2.0, "write_s": 1.0}
    split = fetch_told_apart(Split(work_s=7.0, idle_s=1.0), [Receipt(1, 0, 7.0, "d", facts=facts)])
    assert split == Split(work_s=2.0, wait_s=4.0, io_s=1.0, idle_s=1.0)


def test_speedup_is_against_the_median_of_the_smallest_number_of_nodes():
    rates = {1: [10.0, 9.0, 30.0], 4: [30.0]}
    rows = [measured(nodes=n, rows_per_s=rate) for n, own in rates.items() for rate in own]
    found = compared([*rows, measured(stage="fetch", nodes=2, rows_per_s=7.0)])
    assert [round(each.efficiency, 3) for each in found] == [1.0, 0.9, 3.0, 0.75, 1.0]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (measured(), "the work itself"),
        (measured(stage="publish"), "the driver's alone"),
        (measured(slots=4, cores=2, split=Split(work_s=20, idle_s=20)), "the workers share 2 cores: 4 slots"),
        (measured(units=3, split=Split(work_s=14, idle_s=6)), "imbalance: 3 units for 2 slots"),
        (
            measured(split=Split(work_s=8, scheduler_s=12)),
            "the scheduler: handing out and starting takes 60%",
        ),
        (measured(split=Split(work_s=8, io_s=12)), "I/O"),
        (measured(split=Split(work_s=8, wait_s=12)), "the survey server"),
    ],
)
def test_the_bottleneck_is_named_by_rule(found, words):
    assert words in bottleneck(found, POLITE)


def test_politeness_is_named_where_it_explains_the_time():
    fetch = measured(stage="fetch", wall_s=10.0, split=Split(work_s=2, wait_s=18))
    assert "20 requests/s for the whole run explain 95%" in bottleneck(fetch, POLITE, Asked(190, 20.0))
    assert "all 8 connections" in bottleneck(fetch, POLITE, Asked(100, 76.0))
    assert "the survey server" in bottleneck(fetch, POLITE, Asked(100, 20.0))


def test_the_table_has_the_columns_that_are_documented(tmp_path):
    path = tmp_path / "scaling.csv"
    write_csv(compared([measured(bottleneck='a "b", c')]), path)
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == list(COLUMNS)
    assert (row["nodes"], row["wall_s"], row["work_s"], row["efficiency"]) == ("2", "10", "20", "1")
    assert row["bottleneck"] == 'a "b", c'
