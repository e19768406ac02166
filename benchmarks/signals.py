"""CPU seconds a row of signals: computing it, noise, and the networks, on one thread.

python -m benchmarks.signals [--rows 6] [--repeat 3]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from model.geometry import Geometry
from model.presets import load_preset
from model.threads import import_with_tensorflow
from pipeline.sandbox.inspirals import inspirals
from pipeline.sources.signals import SignalSource
from schemas.imaging import EMRI_BANDS, EMRI_SAMPLES

GEOMETRY = Geometry((EMRI_SAMPLES,), EMRI_BANDS, 0.0, "float32", "sigma")


def cpu_s(work: Callable[[], Any], repeat: int) -> float:
    """Return the CPU seconds of a call, after one that warms up."""
    work()
    begun = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - begun) / repeat


def computing_s(population: int, rows: int) -> float:
    """Return the CPU seconds of computing a signal of a population, once its first one is computed."""
    table = inspirals(population, rows, seed=1998).to_pylist()
    places = [
        {k: np.nan if v is None else float(v) for k, v in row.items()} for row in table if row["signal"]
    ]
    source = SignalSource("nowhere")
    source.judge(places[0], ())
    return cpu_s(lambda: [source.judge(place, ()) for place in places], 1) / len(places)


def network_s(name: str, repeat: int) -> tuple[float, float]:
    """Return the CPU seconds a row of a preset forward, and of a step, two rows at once."""
    networks = import_with_tensorflow("model.networks", threads=1)
    tensorflow = import_with_tensorflow("tensorflow", threads=1)
    network = networks.build_network(load_preset(name), GEOMETRY, seed=1)
    rows = np.random.default_rng(0).normal(size=(2, *GEOMETRY.whole)).astype("f4")
    draws = np.arange(2, dtype="i4")

    @tensorflow.function
    def forward(*given: Any) -> Any:
        return network(list(given), training=False)

    @tensorflow.function
    def step(*given: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            loss = tensorflow.reduce_mean(network(list(given), training=True) ** 2)
        return tape.gradient(loss, network.trainable_variables)

    # given, not constants, which would be computed once and for all
    return cpu_s(lambda: forward(rows, draws), repeat) / 2, cpu_s(lambda: step(rows, draws), repeat) / 2


def noise_s(repeat: int) -> float:
    """Return the CPU seconds of a row's noise."""
    tensorflow = import_with_tensorflow("tensorflow", threads=1)
    layer = import_with_tensorflow("model.noise", threads=1).Noise(7, always=True)
    draws = np.arange(1, dtype="i4")
    made = tensorflow.function(lambda draw: layer.normal(draw, GEOMETRY.whole))
    return cpu_s(lambda: made(draws), 10 * repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU seconds a row of signals.")
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    for words, population in (("AK", 1), ("AAK", 3)):
        print(f"{words} signal      {computing_s(population, args.rows):8.3f} s a row")
    print(f"noise          {noise_s(args.repeat):8.4f} s a row")
    for name in ("emri", "emri-1d"):
        forward, step = network_s(name, args.repeat)
        print(f"{name:8s} forward {forward:7.3f}, step {step:7.3f} s a row")


if __name__ == "__main__":
    main()
