"""The arrays of a new cube: chunks, shards, axes and what they say of themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from schemas.arrays import FEATURE_PREFIX, IMAGE, TARGET, ArraySpec


def feature_spec(name: str) -> ArraySpec:
    """Return the array of a feature column."""
    column = name.removeprefix(FEATURE_PREFIX)
    return ArraySpec(name, "float64", ("row",), f"column {column} of the sample", fill_value=np.nan)


def create_array(
    group: zarr.Group, array: ArraySpec, shape: tuple[int, ...], *, rows_per_chunk: int, rows_per_block: int
) -> zarr.Array:
    """Create an array of a cube, empty; a block of it is one shard."""
    # Only pixels are read by chunk; a shard of a small array is one chunk.
    chunk = rows_per_chunk if array.name in (IMAGE.name, TARGET.name) else rows_per_block
    whole = tuple(max(1, length) for length in shape[1:])  # Zarr has no chunks of no length, as without bands
    attributes: dict[str, Any] = {"long_name": array.description, "description": array.description}
    attributes |= {key: value for key, value in (("units", array.unit), ("ucd", array.ucd)) if value}
    return group.create_array(
        array.name,
        shape=shape,
        dtype=array.dtype,
        chunks=(chunk, *whole),
        shards=(rows_per_block, *whole),
        compressors=[Crc32cCodec()],
        filters=None,
        fill_value=array.fill_value,
        dimension_names=array.dims,
        attributes=attributes,
        config={"write_empty_chunks": True},
    )


def create_axes(
    group: zarr.Group, *, pixels: int, step: float, step_unit: str, bands: tuple[str, ...], band_name: str
) -> None:
    """Create the arrays that name the pixels' places and the bands.

    `step` is that from pixel to pixel, in `step_unit`, which is arcsec or a column of the sample; `band_name` says what
    a band is.
    """
    offset = (np.arange(pixels) - (pixels - 1) / 2) * step
    _create_axes(
        group,
        {
            "y": (-offset, {"units": step_unit, "long_name": "offset to the north"}),
            "x": (-offset, {"units": step_unit, "long_name": "offset to the east"}),
            "band": (_texts(bands), {"long_name": band_name}),
        },
    )


def create_signal_axes(group: zarr.Group, *, samples: int, step_s: float, bands: tuple[str, ...]) -> None:
    """Create the arrays that name the samples' times and the channels of signals."""
    _create_axes(
        group,
        {
            "sample": (np.arange(samples) * step_s, {"units": "s", "long_name": "time at the detector"}),
            "band": (_texts(bands), {"long_name": "channel"}),
        },
    )


def _texts(bands: tuple[str, ...]) -> Any:
    return np.array(bands, dtype=np.dtypes.StringDType())


def _create_axes(group: zarr.Group, axes: Mapping[str, tuple[Any, dict[str, Any]]]) -> None:
    for name, (values, attributes) in axes.items():
        group.create_array(
            name,
            data=values,
            chunks=values.shape,
            dimension_names=(name,),
            attributes=attributes,
            compressors=None,
        )


def create_class_axis(group: zarr.Group, classes: tuple[str, ...]) -> None:
    """Create the array that names the classes of pixels."""
    _create_axes(group, {"class": (_texts(classes), {"long_name": "what a pixel belongs to"})})
