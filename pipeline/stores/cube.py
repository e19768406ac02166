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
from pipeline.stores.staging import disk_errors, make_folder, seal
from schemas.arrays import DEC, DIGEST_BYTES, FEATURE_PREFIX, FETCHED, ID, IMAGE, PLANNED, RA, ArraySpec
from schemas.config import RunFile
from schemas.digests import file_sha256
from schemas.disk import sync
from schemas.errors import StoreError
from schemas.records import Block, Product

CUBE_SCHEMA = 1
COORDINATES = "id ra dec split"


@dataclass(frozen=True)
class CubeSpec:
    """Geometry and origin of a cube; lengths in rows and pixels.

    ``url`` is that of the run file, and ``sky`` that of the sandbox where ``url`` is "sandbox", else "".
    """

    sample: str
    pixels: int
    arcsec_per_pixel: float
    bands: tuple[str, ...]
    rows_per_block: int
    rows_per_chunk: int
    release: int
    url: str
    label: str
    sky: str = ""

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
            run.source.url.rstrip("/"),
            run.target.column,
            run.sandbox.sky if run.source.url == "sandbox" else "",
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """What the cube says of itself."""
        return asdict(self) | {"bands": list(self.bands)}

    @property
    def geometry(self) -> dict[str, Any]:
        """What an existing cube must agree with: all but the label, which is written again."""
        return {key: value for key, value in self.attributes.items() if key != "label"}


@dataclass(frozen=True)
class BlockRows:
    """What a worker needs of a block: ids, positions [deg], and what was fetched before.

    ``image`` ``(row, y, x, band)``, ``digest`` ``(row, digest_byte)`` and ``status`` ``(row,)`` are uint8.
    """

    id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    image: np.ndarray
    digest: np.ndarray
    status: np.ndarray


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


def objects_digest(rows_parquet: Path) -> str:
    """Return the SHA-256 of ids and positions in the order of the rows: what a cube's pixels belong to."""
    digest = hashlib.sha256()
    for batch in pq.ParquetFile(rows_parquet).iter_batches(columns=[ID.name, RA.name, DEC.name]):
        digest.update(np.rec.fromarrays([column.to_numpy() for column in batch.columns]).tobytes())
    return digest.hexdigest()


def planned_files(path: Path) -> list[Path]:
    """Return the files of a cube that were there before the first download, in order."""
    fetched = {path / array.name / "c" for array in FETCHED}
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
        **spec.attributes,
        "title": f"skymill cutouts of the sample {spec.sample}",
        "skymill_cube": CUBE_SCHEMA,
        "rows": rows,
        "objects": objects_digest(rows_parquet),
        "coordinates": COORDINATES,
    }


def _feature_spec(name: str) -> ArraySpec:
    column = name.removeprefix(FEATURE_PREFIX)
    return ArraySpec(name, "float64", ("row",), f"column {column} of the sample", fill_value=np.nan)


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


def check_cube(path: Path, spec: CubeSpec, rows_parquet: Path) -> None:
    """Refuse a cube that has another geometry, another source or other objects.

    Raises
    ------
    StoreError
        Naming each difference.
    """
    found = attributes(path)
    expected = spec.geometry | {"objects": objects_digest(rows_parquet)}
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


def read_block(path: Path, block: Block, *, fetched: bool = True) -> BlockRows:
    """Read a block; what was fetched of it starts blank without `fetched`, or if a shard of it is missing.

    Raises
    ------
    StoreError
        If a shard cannot be read.
    """
    try:
        group = zarr.open_group(path, mode="r")
        part = slice(block.start, block.stop)
        planned = [_array(group, array.name) for array in (ID, RA, DEC)]
        arrays = [_array(group, array.name) for array in FETCHED]
        if missing := [array.basename for array in planned if not _is_written(path / _shard(array, block))]:
            raise FileNotFoundError(f"no shard of {', '.join(missing)}")
        known = [np.asarray(array[part]) for array in planned]
        if fetched and all(_is_written(path / _shard(array, block)) for array in arrays):
            held = {array.basename: np.asarray(array[part]) for array in arrays}
        else:
            held = {
                array.basename: np.full((block.rows, *array.shape[1:]), array.fill_value, array.dtype)
                for array in arrays
            }
        return BlockRows(*known, **held)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"block {block.key} of {path} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error


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

    The products come in the order of `schemas.arrays.FETCHED`, in which they must be placed.

    Parameters
    ----------
    path : Path
        The cube; only read.
    block : Block
        The rows to write; must be a whole shard, or the last one.
    arrays : mapping
        The arrays of `FETCHED` by name, each with ``block.rows`` rows.
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
    for name in (array.name for array in FETCHED):
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
            )
        products.append(seal(shard, path / shard.relative_to(staged)))
    return tuple(products)


def content_digest(status: np.ndarray, digest: np.ndarray, image: np.ndarray) -> str:
    """Return the SHA-256 of what a block holds, whatever files or attempts it came from."""
    content = hashlib.sha256()
    for values in (status, digest, image):
        content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()
