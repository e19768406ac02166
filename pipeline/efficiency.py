"""What a scaling test has shown: which share of N times one node's speed N nodes reach."""

import csv
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.scaling import SUFFIX, TABLE
from schemas.config import RunFile


@dataclass(frozen=True)
class Efficiency:
    """Points (nodes, efficiency) by stage, in the order of nodes; 1 where nothing was measured."""

    points: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    words: str = "nodes are taken to help in full: `skymill scale` has not measured it for this run"

    def at(self, stage: str, nodes: int) -> float:
        """Return the efficiency of a stage on so many nodes: between two measurements in proportion.

        Examples
        --------
        >>> found = Efficiency({"fetch": [(1, 1.0), (4, 0.7)]})
        >>> found.at("fetch", 2), found.at("fetch", 9), found.at("train", 9)
        (0.9, 0.7, 1.0)
        """
        points = self.points.get(stage)
        if not points:
            return 1.0
        place = bisect_left([count for count, _ in points], nodes)
        if place == 0:
            return points[0][1]
        if place == len(points):
            return points[-1][1]
        (less, low), (more, high) = points[place - 1], points[place]
        return low + (high - low) * (nodes - less) / (more - less)


def efficiency_of(run_file: RunFile) -> Efficiency:
    """Return what the scaling test of a run has shown; nothing where there was none."""
    folder = run_file.folder.with_name(run_file.name + SUFFIX)
    for path in (folder / TABLE, run_file.folder / TABLE):
        if (found := read_efficiency(path)).points:
            return found
    return Efficiency()


def read_efficiency(path: Path) -> Efficiency:
    """Return what the table of a scaling test says; the mean where a number of nodes was repeated.

    What politeness held back says nothing of the nodes, and is left out: a plan bounds it by politeness anyway.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return Efficiency()
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        try:
            nodes, share = int(row["nodes"]), float(row["efficiency"])
        except (KeyError, TypeError, ValueError):
            continue
        if (row.get("bottleneck") or "").startswith("politeness"):
            continue
        if nodes > 0 and math.isfinite(share) and share > 0 and row.get("stage"):
            found.setdefault(row["stage"], {}).setdefault(nodes, []).append(min(1.0, share))
    if not found:
        return Efficiency()
    points = {
        stage: sorted((nodes, sum(shares) / len(shares)) for nodes, shares in counts.items())
        for stage, counts in found.items()
    }
    most = max(nodes for counts in points.values() for nodes, _ in counts)
    return Efficiency(
        points, f"efficiency of {', '.join(sorted(points))} by {path}, measured up to {most} nodes"
    )
