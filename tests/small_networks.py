"""Networks that are small enough to be trained in a test."""

from typing import Any


def menko_branches(*, first: int = 8, pointwise: bool = False) -> dict[str, Any]:
    """Return overrides that leave two convolutions of preset menko, the first of so many filters.

    With ``pointwise`` there is a third one between them, of single pixels.
    """

    def convolution(kernel: int, filters: int) -> dict[str, Any]:
        return {"kind": "conv", "kernel": kernel, "filters": filters, "norm": True, "activation": "relu"}

    between = [convolution(1, 8)] if pointwise else []
    end = [{"kind": "global_average"}, {"kind": "dropout"}]
    layers = [convolution(3, first), *between, {"kind": "pool", "size": 2}, convolution(3, 8), *end]
    return {"network.branches": [{"name": "cnn", "input": "image", "layers": layers}]}
