"""The verb ``skymill scale``: the same work on several numbers of nodes, measured, compared, and fitted.

It works on a run of its own, ``NAME-scale`` in the same output folder, with a catalogue of its own: the run of the
run file, its cube and its catalogue are left as they are. The numbers of nodes are measured in turns that are
shuffled by the run's seed, so that a machine that grows slower does not look like scaling.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.work import find
from pipeline.scale import stages
from pipeline.scale.bottleneck import bottleneck
from pipeline.scale.measuring import Measurement, Nodes, Split, compared, write_csv
from pipeline.verbs import open_mill as opened
from schemas.config import RunFile
from schemas.errors import PlanError
from schemas.runfile import load_run_file

if TYPE_CHECKING:
    from pipeline.scale.mill import ScaleMill

SUFFIX = "-scale"
TABLE = "scaling.csv"
PAGE = "scaling.html"


@dataclass(frozen=True)
class Wish:
    """What is to be measured: numbers of nodes, stages, and how often."""

    nodes: tuple[int, ...]
    stage: str = "all"
    weak: bool = False
    repeats: int = 3
    blocks: int = 10_000

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Wish":
        """Take it from the command line.

        Raises
        ------
        PlanError
            Naming all that cannot be.
        """
        faults = []
        nodes = _numbers(args.nodes)
        if not nodes or min(nodes) < 1:
            faults.append(f"--nodes: expected whole numbers from 1, such as 1,2,4,8, found {args.nodes!r}")
        elif len(set(nodes)) < len(nodes):
            faults.append(f"--nodes: expected each number once, found {args.nodes!r}")
        faults += [
            f"--{name}: expected at least 1, found {getattr(args, name)}"
            for name in ("repeats", "blocks")
            if getattr(args, name) < 1
        ]
        if faults:
            raise PlanError(
                "\n".join(faults), "for example: skymill scale run.toml --nodes 1,2,4 --repeats 3"
            )
        return cls(nodes, args.stage, args.weak, args.repeats, args.blocks)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command line that say it."""
        numbers = ",".join(map(str, self.nodes))
        weak = ("--weak",) if self.weak else ()
        counts = ("--repeats", str(self.repeats), "--blocks", str(self.blocks))
        return ("--nodes", numbers, "--stage", self.stage, *weak, *counts)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of a run that are measured."""
        return {"all": stages.STAGES, "none": ()}.get(self.stage, (self.stage,))

    def turns(self, seed: int) -> list[tuple[int, int]]:
        """Return number of nodes and repeat of each turn: every repeat has all numbers, in an order of its own."""
        order = random.Random(seed)
        return [
            (number, repeat)
            for repeat in range(1, self.repeats + 1)
            for number in order.sample(self.nodes, len(self.nodes))
        ]

    def share(self, number: int) -> float:
        """Return the share of the work that so many nodes have."""
        return number / max(self.nodes) if self.weak else 1.0


def scale(args: argparse.Namespace) -> int:
    """Measure a run on several numbers of nodes, and write the table and the page."""
    wish = Wish.of(args)
    run_file = of_scaling(load_run_file(Path(args.run_file), words=args.words), wish)
    if args.site:
        return _submit(args, run_file, wish)
    found: list[Measurement] = []
    with opened(run_file) as plain, find("pipeline.scale.mill:limited")(plain) as mill:
        stages_here = [stage for stage in wish.stages if stage != "publish"]
        mill.session.await_workers(max(wish.nodes), stages_here or ("",), say=mill.view.say)
        machines = mill.session.machines()
        for each in measurements(mill, wish):
            found.append(each)
            mill.view.say(_line(each, len(found)))
            write_csv(compared(found), mill.folder / TABLE)  # what is measured is kept, whatever comes
        page = mill.folder / PAGE
        find("pipeline.report.scaling:write_page")(compared(found), machines, run_file, page)
        for line in find("pipeline.report.scaling:closing_lines")(compared(found), run_file.seed):
            mill.view.say(line)
        mill.view.say(f"table {mill.folder / TABLE}\nreport {page}")
    return 0


def of_scaling(run_file: RunFile, wish: Wish) -> RunFile:
    """Return the run file of the run that is measured: of another name, with as many workers as will take part."""
    most = max(wish.nodes)
    named = run_file.name.endswith(SUFFIX)
    data = run_file.model_dump(by_alias=True)
    data["name"] = run_file.name if named else f"{run_file.name[: 61 - len(SUFFIX)]}{SUFFIX}"
    data["catalogue"]["name"] = run_file.catalogue.name if named else f"{run_file.catalogue.name[:34]}_scale"
    data["cube"]["path"] = None
    data["search"] = None
    data["cluster"] |= {"workers": most, "nodes": most}
    return RunFile.model_validate(data)


def measurements(mill: "ScaleMill", wish: Wish) -> Iterator[Measurement]:
    """Yield what is measured, as it is; speedup and efficiency are left to `compared`."""
    turns = list(enumerate(wish.turns(mill.run_file.seed), 1))
    if wish.stage == "none":
        for turn, (number, repeat) in turns:
            for each in _empty(mill, wish, number):
                yield _placed(each, wish, turn, repeat)
        return
    run = stages.prepare(mill, wish.stages)
    _warm_up(mill, run, wish)
    for turn, (number, repeat) in turns:
        done = [_stage(mill, run, wish, stage, number) for stage in wish.stages]
        if wish.stage == "all":
            done.append(_whole(done))
        for each in done:
            yield _placed(each, wish, turn, repeat)


def _stage(mill: "ScaleMill", run: stages.Prepared, wish: Wish, stage: str, number: int) -> Measurement:
    nodes = mill.session.limit(number, "" if stage == "publish" else stage)
    found, asked = stages.measure(run, stage, nodes, share=wish.share(number))
    return replace(found, bottleneck=bottleneck(found, mill.run_file.politeness, asked))


def _warm_up(mill: "ScaleMill", run: stages.Prepared, wish: Wish) -> None:
    """Do each stage once before it counts: the server is started, libraries are loaded, and disks are warm.

    Trainers are new processes each time, so nothing of theirs is.
    """
    for stage in stages.STAGES:
        if stage in wish.stages and stage != "train":
            _stage(mill, run, wish, stage, max(wish.nodes))


def _whole(parts: Sequence[Measurement]) -> Measurement:
    """Return a measurement of all stages one after the other; what it holds of objects is what was fetched."""
    wall_s = sum(part.wall_s for part in parts)
    slowest = max(parts, key=lambda part: part.wall_s)
    split = Split(**{name: sum(getattr(part.split, name) for part in parts) for name in vars(slowest.split)})
    words = f"{slowest.stage}, {slowest.wall_s / wall_s:.0%} of the time: {slowest.bottleneck}"
    units, rows = sum(part.units for part in parts), parts[0].rows
    return replace(
        parts[0],
        stage="all",
        wall_s=wall_s,
        units=units,
        rows_per_s=rows / wall_s,
        split=split,
        bottleneck=words,
    )


def _empty(mill: "ScaleMill", wish: Wish, number: int) -> Iterator[Measurement]:
    session = mill.session
    session.forget_stages()
    nodes = session.limit(number)
    blocks = max(1, round(wish.blocks * wish.share(number)))
    for way, work, arguments in (
        ("bare", "pipeline.scale.empty:bare", (session, blocks, nodes.workers)),
        ("session", "pipeline.scale.empty:session", (session, blocks)),
        ("ledger", "pipeline.scale.empty:ledger", (mill, blocks)),
    ):
        taken_s: float = find(work)(*arguments)
        yield _of_empty(way, nodes, blocks, taken_s)


def _of_empty(way: str, nodes: Nodes, blocks: int, wall_s: float) -> Measurement:
    split = Split(scheduler_s=nodes.threads * wall_s)
    return Measurement(
        "none",
        nodes.count,
        0,
        wall_s,
        blocks,
        blocks,
        nodes.threads,
        way=way,
        cores=sum(nodes.cores.values()),
        hosts=len(nodes.cores),
        rows_per_s=blocks / wall_s,
        split=split,
        bottleneck="the scheduler: there is nothing else to do",
    )


def _placed(found: Measurement, wish: Wish, turn: int, repeat: int) -> Measurement:
    return replace(found, turn=turn, repeat=repeat, mode="weak" if wish.weak else "strong")


def _submit(args: argparse.Namespace, run_file: RunFile, wish: Wish) -> int:
    return int(find("pipeline.scale.submitting:submit")(run_file, args.site, wish))


def _line(found: Measurement, count: int) -> str:
    nodes = f"{found.nodes} node{'s' if found.nodes > 1 else ''}"
    rate = f"{found.rows_per_s:,.0f} rows/s"
    return f"{count}: {found.series} on {nodes}: {found.wall_s:.2f} s, {rate}; {found.bottleneck}"


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        return ()
