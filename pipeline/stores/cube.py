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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zarr
from zarr.codecs import Crc32cCodec

from pipeline.stores.shards import write_shard
from pipeline.stores.staging import disk_errors, hash_file, seal, sync
from schemas.arrays import DIGEST, DIGEST_BYTES, FEATURE_PREFIX, FETCHED, IMAGE, PLANNED, STATUS, ArraySpec
from schemas.config import RunFile
from schemas.errors import StoreError
from schemas.records import Block, Product, blocks_of

CUBE_SCHEMA = 1
COORDINATES = "id ra dec split"


@dataclass(frozen=True)
class CubeSpec:
    """Geometry and origin of a cube; lengths in rows and pixels."""

    sample: str
    pixels: int
    arcsec_per_pixel: float
    bands: tuple[str, ...]
    rows_per_block: int
    rows_per_chunk: int
    release: int
    url: str
    label: str

    @classmethod
    def of(cls, run: RunFile, sample: str) -> "CubeSpec":
        """Take a sample's cube from the run file."""
        images, cube = run.images, run.cube
        return cls(
            sample,
            images.pixels,
            images.arcsec_per_pixel,
            images.bands,
            cube.rows_per_block,
            cube.rows_per_chunk,
            run.source.release,
            run.source.url,
            run.target.column,
        )

    @property
    def geometry(self) -> dict[str, Any]:
        """What an existing cube must agree with."""
        keys = (
            "sample",
            "pixels",
            "arcsec_per_pixel",
            "rows_per_block",
            "rows_per_chunk",
            "release",
            "label",
        )
        return {key: getattr(self, key) for key in keys} | {"bands": list(self.bands)}


@dataclass(frozen=True)
class BlockRows:
    """What a worker needs of a block: ids, positions [deg], and what was fetched before."""

    id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    status: np.ndarray
    digest: np.ndarray
    image: np.ndarray


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
        If it cannot be written, or a cube of another geometry lies there.
    """
    if (path / "zarr.json").exists():
        check_cube(path, spec, rows_parquet)
    temporary = path.parent / f".{path.name}-{secrets.token_hex(4)}"
    try:
        with disk_errors(path):
            temporary.mkdir(parents=True)
            _fill(temporary, rows_parquet, spec)
            _sync_tree(temporary)
            for file in planned_files(temporary) if path.exists() else ():
                target = path / file.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
            if not path.exists():
                temporary.rename(path)
            sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def planned_files(path: Path) -> list[Path]:
    """Return the files of a cube that were there before the first download, in order."""
    fetched = {path / array.name / "c" for array in FETCHED}
    return sorted(file for file in path.rglob("*") if file.is_file() and not fetched & set(file.parents))


def planned_digest(path: Path) -> str:
    """Return the SHA-256 of all that was written to a cube before the first download."""
    digest = hashlib.sha256()
    for file in planned_files(path):
        digest.update(f"{file.relative_to(path)} {hash_file(file)[1]}\n".encode())
    return digest.hexdigest()


def _fill(path: Path, rows_parquet: Path, spec: CubeSpec) -> None:
    table = pq.ParquetFile(rows_parquet)
    rows = table.metadata.num_rows
    features = [name for name in table.schema_arrow.names if name.startswith(FEATURE_PREFIX)]
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update(_group_attributes(spec, rows, rows_parquet))
    specs = [*PLANNED, *FETCHED, *(_feature_spec(name) for name in features)]
    arrays = {array.name: _create_array(group, array, rows, spec) for array in specs}
    _create_axes(group, spec)
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
        **asdict(spec),
        "bands": list(spec.bands),
        "title": f"skymill cutouts of the sample {spec.sample}",
        "skymill_cube": CUBE_SCHEMA,
        "rows": rows,
        "rows_sha256": hash_file(rows_parquet)[1],
        "coordinates": COORDINATES,
    }


def _feature_spec(name: str) -> ArraySpec:
    column = name.removeprefix(FEATURE_PREFIX)
    return ArraySpec(name, "float64", ("row",), "plan", f"column {column} of the sample", fill_value=np.nan)


def _create_array(group: zarr.Group, array: ArraySpec, rows: int, spec: CubeSpec) -> zarr.Array:
    sizes = {"y": spec.pixels, "x": spec.pixels, "band": len(spec.bands), "digest_byte": DIGEST_BYTES}
    rest = tuple(sizes[name] for name in array.dims[1:])
    # Only pixels are read by chunk; a shard of a small array is one chunk.
    chunk = spec.rows_per_chunk if array is IMAGE else spec.rows_per_block
    attributes: dict[str, Any] = {"long_name": array.description, "description": array.description}
    attributes |= {key: value for key, value in (("units", array.unit), ("ucd", array.ucd)) if value}
    return group.create_array(
        array.name,
        shape=(rows, *rest),
        dtype=array.dtype,
        chunks=(chunk, *rest),
        shards=(spec.rows_per_block, *rest),
        compressors=[Crc32cCodec()],
        filters=None,
        fill_value=array.fill_value,
        dimension_names=array.dims,
        attributes=attributes,
        config={"write_empty_chunks": True},
    )


def _create_axes(group: zarr.Group, spec: CubeSpec) -> None:
    offset = (np.arange(spec.pixels) - (spec.pixels - 1) / 2) * spec.arcsec_per_pixel
    band = np.array(spec.bands, dtype=np.dtypes.StringDType())
    axes: list[tuple[str, Any, dict[str, Any]]] = [
        ("y", -offset, {"units": "arcsec", "long_name": "offset to the north"}),
        ("x", -offset, {"units": "arcsec", "long_name": "offset to the east"}),
        ("band", band, {"long_name": "filter shown as red, green, blue"}),
    ]
    for name, values, attributes in axes:
        group.create_array(
            name,
            data=values,
            chunks=values.shape,
            dimension_names=(name,),
            attributes=attributes,
            compressors=None,
        )


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


def check_cube(path: Path, spec: CubeSpec, rows_parquet: Path | None = None) -> None:
    """Refuse a cube that has another geometry or other rows.

    Raises
    ------
    StoreError
        Naming each difference.
    """
    found = attributes(path)
    expected = dict(spec.geometry)
    if rows_parquet is not None:
        expected["rows_sha256"] = hash_file(rows_parquet)[1]
    differing = [
        f"{key}: expected {value!r}, found {found.get(key)!r}"
        for key, value in expected.items()
        if found.get(key) != value
    ]
    if differing:
        raise StoreError(
            f"the cube at {path} is of another run: {'; '.join(differing)}",
            "choose another `name`, `output` or `cube.path`, or remove that cube",
        )


def blocks(path: Path) -> list[Block]:
    """Return the blocks of a cube, in order."""
    found = attributes(path)
    return blocks_of(str(found["sample"]), int(found["rows"]), rows_per_block=int(found["rows_per_block"]))


def read_block(path: Path, block: Block, *, fetched: bool = True) -> BlockRows:
    """Read a block; without `fetched` what was fetched before is left out and starts blank.

    Raises
    ------
    StoreError
        If a shard cannot be read.
    """
    try:
        group = zarr.open_group(path, mode="r")
        part = slice(block.start, block.stop)
        known = [np.asarray(_array(group, name)[part]) for name in ("id", "ra", "dec")]
        if fetched:
            return BlockRows(
                *known, *(np.asarray(_array(group, a.name)[part]) for a in (STATUS, DIGEST, IMAGE))
            )
        blank = [
            np.full((block.rows, *_array(group, a.name).shape[1:]), a.fill_value, a.dtype)
            for a in (STATUS, DIGEST, IMAGE)
        ]
        return BlockRows(*known, *blank)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"block {block.key} of {path} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error


def _array(group: zarr.Group, name: str) -> Any:
    return group[name]


def write_block(
    path: Path, block: Block, arrays: Mapping[str, np.ndarray], folder: Path
) -> tuple[Product, ...]:
    """Write a block's shards into a staged copy of the cube, durably, and say where they belong.

    Parameters
    ----------
    path : Path
        The cube; only read.
    block : Block
        The rows to write; must be a whole shard, or the last one.
    arrays : mapping
        Arrays by name, each with ``block.rows`` rows.
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
            "plan the blocks with `blocks(path)`",
        )
    staged = folder / path.name
    products = []
    for name, values in arrays.items():
        with disk_errors(staged, values.nbytes):
            array = zarr.open_array(path / name, mode="r")
            shard = (
                staged
                / name
                / array.metadata.encode_chunk_key((block.start // step, *[0] * (array.ndim - 1)))
            )
            shard.parent.mkdir(parents=True)
            write_shard(
                shard,
                values.astype(array.dtype, copy=False),
                rows=step,
                chunk_rows=array.chunks[0],
                fill_value=array.fill_value,
            )
        products.append(seal(shard, path / shard.relative_to(staged)))
    return tuple(products)


def content_digest(status: np.ndarray, digest: np.ndarray, image: np.ndarray) -> str:
    """Return the SHA-256 of what a block holds, whatever files or attempts it came from."""
    content = hashlib.sha256()
    for values in (status, digest, image):
        content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()


def verify_block(path: Path, block: Block, digest: str) -> str:
    """Re-read a block and compare it with its receipt's digest; return what is wrong, or an empty text."""
    try:
        rows = read_block(path, block)
    except StoreError as error:
        return error.message
    found = content_digest(rows.status, rows.digest, rows.image)
    return "" if found == digest else f"block {block.key}: expected content {digest[:12]}, found {found[:12]}"
