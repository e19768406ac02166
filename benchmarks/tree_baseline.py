"""A tree regression on radial colour features beside a run's predictions, on the run's own test split.

``python -m benchmarks.tree_baseline CUBE PREDICTIONS`` (a folder of Parquet parts) prints a row of a markdown
table for each tree ensemble and one for the predictions. The features: mean and deviation of each band, the two
differences and the two ratios of neighbouring mean bands in 12 rings, and the concentration of the light.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor

from model.cubes import labelled_rows, open_cube
from model.metrics import Metrics, photoz_metrics
from schemas.flags import Part

RINGS = 12


def radial_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the features of ``(n, y, x, band)`` images."""
    side = images.shape[1]
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    ring = (np.hypot(y, x) / (side / 2) * RINGS).astype(int).ravel()
    pixels = images.reshape(len(images), -1, images.shape[-1]).astype(np.float32) / 255
    columns, means = [], []
    for number in range(RINGS):
        inside = pixels[:, ring == number]
        mean = inside.mean(1)
        first, second = mean[:, :-1], mean[:, 1:]
        columns += [mean, inside.std(1), first - second, (first + 0.02) / (second + 0.02)]
        means.append(mean.mean(1))
    profile = np.stack(means, 1)
    concentration = profile[:, :3].sum(1) / (profile.sum(1) + 0.02)
    return np.concatenate([*columns, concentration[:, None]], axis=1)


def row(name: str, metrics: Metrics) -> str:
    """Return one row of the table."""
    return (
        f"| {name} | {metrics.sigma_nmad:.5f} | {metrics.bias:+.5f} | {metrics.outlier_fraction:.4f} "
        f"| {metrics.r2:.3f} | {metrics.n} |"
    )


def main() -> None:
    cube = open_cube(sys.argv[1])
    parts = labelled_rows(cube)
    features = {part: radial_features(cube.read("image")[rows.rows]) for part, rows in parts.items()}
    train, test = parts[Part.TRAIN], parts[Part.TEST]
    print("| on the test split | σ_NMAD | bias | outliers > 0.05 | R² | N |\n|---|---|---|---|---|---|")
    if len(sys.argv) > 2:
        tables = [pq.read_table(path, columns=["row", "z_phot"]) for path in _parquet(Path(sys.argv[2]))]
        found = {
            k: v for t in tables for k, v in zip(t["row"].to_pylist(), t["z_phot"].to_pylist(), strict=True)
        }
        ours = np.array([found.get(number, np.nan) for number in test.rows.tolist()])
        print(row("skymill", photoz_metrics(test.labels, ours)))
    for tree in (
        ExtraTreesRegressor(300, min_samples_leaf=2, max_features=0.4, random_state=0),
        RandomForestRegressor(100, max_features=0.33, random_state=0),
        HistGradientBoostingRegressor(max_iter=200, learning_rate=0.05, random_state=0),
    ):
        predicted = tree.fit(features[Part.TRAIN], train.labels).predict(features[Part.TEST])
        print(row(type(tree).__name__, photoz_metrics(test.labels, predicted)))


def _parquet(path: Path) -> list[Path]:
    return sorted(path.rglob("*.parquet")) if path.is_dir() else [path]


if __name__ == "__main__":
    main()
