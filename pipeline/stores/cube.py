"""The cube: one Zarr v3 group a sample, created whole once and filled block by block.

The driver creates it with everything that is known before the first download; workers write a block into a
staged copy that holds that block's shards only, and the driver moves the shards in.
Chunk size, shard size and codec: ``docs/decisions/0003-chunks-and-codec.md``.
"""

import hashlib
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zarr

from pipeline.stores.cube_arrays import (
    create_array,
    create_axes,
    create_class_axis,
    create_signal_axes,
    feature_spec,
)
from pipeline.stores.cube_spec import CubeSpec
from pipeline.stores.shards import write_shard
from pipeline.stores.staging import disk_errors, make_folder, seal
from schemas.arrays import (
    DEC,
    DIGEST_BYTES,
    FEATURE_PREFIX,
    FETCHED,
    ID,
    IMAGE,
    LEVEL,
    PLANNED,
    RA,
    SIGMA,
    TARGET,
    fetched_arrays,
)
from schemas.digests import file_sha256
from schemas.disk import sync
from schemas.errors import StoreError
from schemas.imaging import EMRI_STEP_S
from schemas.records import Block, Product

CUBE_SCHEMA = 1
COORDINATES = "id ra dec split"


@dataclass(frozen=True)
class BlockRows:
    """What a worker needs of a block: ids, positions [deg], and what was fetched before.

    ``image`` ``(row, y, x, band)`` is uint8 or float32; ``digest`` ``(row, digest_byte)`` and ``status`` ``(row,)`` are
    uint8. ``columns`` holds feature columns that were asked for. A cube whose pixels have classes has ``target``
    ``(row, y, x, class)``, float32.
    """

    id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    image: np.ndarray
    digest: np.ndarray
    status: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    target: np.ndarray | None = None


def create_cube(path: Path, rows_parquet: Path, spec: CubeSpec) -> None:
    """Create a sample's cube with all that is known before the first download.

    It is made under a temporary name beside `path` and renamed, so a half-made cube is never seen. A cube
    that is there already is checked; it keeps what was fetched, and all else is written again.

    Parameters
    ----------
    path : Path
        Where the group shall lie.
    rows_parquet : Path
        The ordered rows, as `stores.rows.order_rows` wrote them.
    spec : CubeSpec
        Geometry and origin.

    Raises
    ------
    StoreError
        If it cannot be written, or a cube of another geometry, source or other rows lies there.
    """
    if (path / "zarr.json").exists():
        check_cube(path, spec, rows_parquet)
    temporary = path.parent / f".{path.name}-{secrets.token_hex(4)}"
    try:
        with disk_errors(path):
            make_folder(temporary)
            _fill(temporary, rows_parquet, spec)
            _sync_tree(temporary)
            if path.exists():
                _renew(path, temporary)
            else:
                temporary.rename(path)
            sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _renew(path: Path, fresh: Path) -> None:
    """Put all that is not fetched of the cube `fresh` in place of what the one at `path` has."""
    names = [file.relative_to(fresh) for file in planned_files(fresh)]
    for name in names:
        make_folder((path / name).parent)
        (fresh / name).replace(path / name)
        sync((path / name).parent)
    for file in planned_files(path):  # a feature that the sample no longer has
        if file.relative_to(path) not in names:
            file.unlink()


def objects_digest(rows_parquet: Path, spec: CubeSpec) -> str:
    """Return the SHA-256 of what a cube's pixels belong to: ids and positions in the order of the rows.

    Pixels that are computed from other columns belong to these too; a column that the rows lack is left out.
    """
    digest, table = hashlib.sha256(), pq.ParquetFile(rows_parquet)
    there = {name.lower(): name for name in table.schema_arrow.names}
    made_from = [f"{FEATURE_PREFIX}{name}".lower() for name in spec.made_from]
    more = [there[name] for name in made_from if name in there]
    for batch in table.iter_batches(columns=[ID.name, RA.name, DEC.name, *more]):
        digest.update(
            np.rec.fromarrays([column.to_numpy(zero_copy_only=False) for column in batch.columns]).tobytes()
        )
    return digest.hexdigest()


def planned_files(path: Path) -> list[Path]:
    """Return the files of a cube that were there before the first download, in order."""
    fetched = {path / array.name / "c" for array in (TARGET, *FETCHED)}
    return sorted(file for file in path.rglob("*") if file.is_file() and not fetched & set(file.parents))


def planned_digest(path: Path) -> str:
    """Return the SHA-256 of all that was written to a cube before the first download."""
    digest = hashlib.sha256()
    for file in planned_files(path):
        digest.update(f"{file.relative_to(path)} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _fill(path: Path, rows_parquet: Path, spec: CubeSpec) -> None:
    table = pq.ParquetFile(rows_parquet)
    rows = table.metadata.num_rows
    features = [name for name in table.schema_arrow.names if name.startswith(FEATURE_PREFIX)]
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update(_group_attributes(spec, rows, rows_parquet))
    sizes = {
        "row": rows,
        "y": spec.pixels,
        "x": spec.pixels,
        "sample": spec.pixels,
        "band": len(spec.bands),
        "class": len(spec.classes),
        "digest_byte": DIGEST_BYTES,
    }
    geometry = {"rows_per_chunk": spec.rows_per_chunk, "rows_per_block": spec.rows_per_block}
    arrays = {
        array.name: create_array(group, array, tuple(sizes[name] for name in array.dims), **geometry)
        for array in (
            *PLANNED,
            *fetched_arrays(spec.unit, target=bool(spec.classes)),
            *map(feature_spec, features),
        )
    }
    if spec.unit == SIGMA:
        create_signal_axes(group, samples=spec.pixels, step_s=EMRI_STEP_S, bands=spec.bands)
    else:
        create_axes(
            group,
            pixels=spec.pixels,
            step=spec.scale_step or spec.arcsec_per_pixel,
            step_unit=spec.scale_column or "arcsec",
            bands=spec.bands,
            band_name="filter shown as red, green, blue"
            if spec.unit == LEVEL
            else "filter, or difference of two",
        )
    if spec.classes:
        create_class_axis(group, spec.classes)
    columns = [array.name for array in PLANNED] + features
    start = 0
    for batch in table.iter_batches(batch_size=spec.rows_per_block, columns=columns):
        stop = start + batch.num_rows
        for name in columns:
            arrays[name][start:stop] = batch[name].to_numpy(zero_copy_only=False).astype(arrays[name].dtype)
        start = stop
    with warnings.catch_warnings():
        # xarray warns readers of a group without it; zarr warns the writer that format 3 does not define it.
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(path)


def _group_attributes(spec: CubeSpec, rows: int, rows_parquet: Path) -> dict[str, Any]:
    return {
        **spec.attributes,
        "title": f"skymill cutouts of the sample {spec.sample}",
        "skymill_cube": CUBE_SCHEMA,
        "rows": rows,
        "objects": objects_digest(rows_parquet, spec),
        "coordinates": COORDINATES,
    }


def _sync_tree(path: Path) -> None:
    for folder, _, files in os.walk(path):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))


def attributes(path: Path) -> dict[str, Any]:
    """Return the group's attributes.

    Raises
    ------
    StoreError
        If there is no cube of this program at `path`.
    """
    try:
        found = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"there is no cube at {path}", "run `skymill run` to create it") from error
    if found.get("skymill_cube") != CUBE_SCHEMA:
        raise StoreError(
            f"the cube at {path}: expected layout {CUBE_SCHEMA}, found {found.get('skymill_cube')!r}",
            "choose another `cube.path`, or the version of skymill that made it",
        )
    return dict(found)


def check_cube(path: Path, spec: CubeSpec, rows_parquet: Path) -> None:
    """Refuse a cube that has another geometry, another source or other objects.

    Raises
    ------
    StoreError
        Naming each difference.
    """
    found = {"unit": LEVEL, "images": ""} | attributes(path)  # which the first cubes do not say
    expected = spec.geometry | {"objects": objects_digest(rows_parquet, spec)}
    differing = [
        f"{key}: expected {value!r}, found {found.get(key)!r}"
        for key, value in expected.items()
        if found.get(key) != value
    ]
    if differing:
        raise StoreError(
            f"the cube at {path} is of another run: {'; '.join(differing)}",
            "choose another `name`, `output` or `cube.path`, or move that cube away",
        )


def read_block(path: Path, block: Block, *, fetched: bool = True, columns: tuple[str, ...] = ()) -> BlockRows:
    """Read a block; what was fetched of it starts blank without `fetched`, or if a shard of it is missing.

    ``columns`` are feature columns to read too, by the sample's names in any case.

    Raises
    ------
    StoreError
        If a shard cannot be read.
    """
    try:
        group = zarr.open_group(path, mode="r")
        part = slice(block.start, block.stop)
        planned = [_array(group, array.name) for array in (ID, RA, DEC)]
        arrays = [_array(group, name) for name in fetched_names(group)]
        if missing := [array.basename for array in planned if not _is_written(path / _shard(array, block))]:
            raise FileNotFoundError(f"no shard of {', '.join(missing)}")
        known = [np.asarray(array[part]) for array in planned]
        if fetched and all(_is_written(path / _shard(array, block)) for array in arrays):
            held: dict[str, Any] = {array.basename: np.asarray(array[part]) for array in arrays}
        else:
            held = {
                array.basename: np.full((block.rows, *array.shape[1:]), array.fill_value, array.dtype)
                for array in arrays
            }
        row_id, ra, dec = known
        return BlockRows(row_id, ra, dec, **held, columns=_columns(group, columns, part))
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"block {block.key} of {path} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error


def _columns(group: zarr.Group, names: tuple[str, ...], part: slice) -> dict[str, np.ndarray]:
    there = {key.lower(): key for key in group.array_keys()} if names else {}
    spelt = {name: there.get(f"{FEATURE_PREFIX}{name}".lower()) for name in names}
    nothing = np.full(part.stop - part.start, np.nan)  # a column without any number is no feature
    return {name: np.asarray(_array(group, key)[part]) if key else nothing for name, key in spelt.items()}


def fetched_names(group: zarr.Group) -> list[str]:
    """Return the names of the arrays that are fetched, in the order in which a block's shards are placed."""
    return [array.name for array in (TARGET, *FETCHED) if array is not TARGET or array.name in group]


def _array(group: zarr.Group, name: str) -> Any:
    return group[name]


def _shard(array: Any, block: Block) -> str:
    """Return where the block's shard of `array` lies in the cube: ``image/c/12/0/0/0``."""
    index = (block.start // array.shards[0], *[0] * (array.ndim - 1))
    return f"{array.basename}/{array.metadata.encode_chunk_key(index)}"


def _is_written(shard: Path) -> bool:
    # Zarr takes a file of no bytes, which a power cut can leave, for a shard of fill values.
    return shard.is_file() and shard.stat().st_size > 0


def write_block(
    path: Path, block: Block, arrays: Mapping[str, np.ndarray], folder: Path
) -> tuple[Product, ...]:
    """Write a block's shards into a staged copy of the cube, durably, and say where they belong.

    The products come in the order of `fetched_names`, in which they must be placed.

    Parameters
    ----------
    path : Path
        The cube; only read.
    block : Block
        The rows to write; must be a whole shard, or the last one.
    arrays : mapping
        The arrays of `fetched_names` by name, each with ``block.rows`` rows.
    folder : Path
        A staging folder of this worker's own.

    Raises
    ------
    StoreError
        If the block is not whole shards, or the disk refuses.
    """
    found = attributes(path)
    step = int(found["rows_per_block"])
    if block.start % step or block.stop != min(block.start + step, int(found["rows"])):
        raise StoreError(
            f"block {block.key} has rows {block.start} to {block.stop}, which is not one shard of {step} rows",
            "plan the blocks with `schemas.records.blocks_of`",
        )
    group = zarr.open_group(path, mode="r")
    staged = folder / path.name
    products = []
    for name in fetched_names(group):
        values, array = arrays[name], _array(group, name)
        shard = staged / _shard(array, block)
        with disk_errors(staged, values.nbytes):
            shard.parent.mkdir(parents=True)
            write_shard(
                shard,
                values.astype(array.dtype, copy=False),
                rows=step,
                chunk_rows=array.chunks[0],
                fill_value=array.fill_value,
                sparse=name == IMAGE.name and found.get("unit", LEVEL) == SIGMA,
            )
        products.append(seal(shard, path / shard.relative_to(staged)))
    return tuple(products)


def content_digest(
    status: np.ndarray, digest: np.ndarray, image: np.ndarray, target: np.ndarray | None = None
) -> str:
    """Return the SHA-256 of what a block holds, whatever files or attempts it came from."""
    content = hashlib.sha256()
    for values in (status, digest, image, *(() if target is None else (target,))):
        content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()
