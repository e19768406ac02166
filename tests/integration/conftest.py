"""A small cube, written by Zarr alone: nothing of skymill has a hand in it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

BANDS = ["i", "r", "g"]


@pytest.fixture(scope="session")
def write_cube() -> Callable[..., str]:
    """Function that writes columns, an array each, as a cube; those that are not given have plain values."""

    def write(path: Path, image: np.ndarray, attributes: Mapping[str, Any] = {}, **given: Any) -> str:
        rows = len(image)
        columns = {
            "image": image,
            "status": np.ones(rows, "u1"),
            "split": np.array([0, 0, 0, 1, 2], "u1")[np.arange(rows) % 5],
            "label": np.full(rows, 0.1, "f4"),
            "id": np.arange(rows).astype("u8") + np.uint64(2**63),
            "ra": np.linspace(0, 359, rows),
            "dec": np.linspace(-80, 80, rows),
            **given,
        }
        group = zarr.open_group(str(path), mode="w", zarr_format=3)
        for name, data in columns.items():
            rest = data.shape[1:]
            array = group.create_array(
                name, shape=data.shape, dtype=data.dtype, chunks=(16, *rest), shards=(64, *rest)
            )
            array[:] = data
        plain = {"rows_per_block": 64, "rows_per_chunk": 16, "arcsec_per_pixel": 0.4, "bands": BANDS}
        group.attrs.update({"rows": rows, **plain, **attributes})
        return str(path)

    return write
