"""The maps of votes over a mosaic: a Zarr group that is written tile by tile, and as FITS files.

A tile is one chunk of each map, so tiles are written independently of each other, in any order, by anyone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from astropy.io import fits
from numpy.typing import NDArray

from model.votes import KINDS
from model.windows import Region, Windows
from schemas.errors import StoreError

Array = NDArray[Any]

MAPS: Mapping[str, tuple[str, ...]] = {"rank": ("rank",), "mean": ("mean", "variance")}
"""The maps of each kind of vote."""
_STRIP_ROWS = 256


def bytes_per_pixel(classes: int, kinds: Sequence[str]) -> int:
    """Return what the maps of a pixel take, uncompressed: how many windows voted, and the votes for each class.

    >>> bytes_per_pixel(5, ["rank", "mean"])
    64
    """
    return 4 * (1 + classes * sum(len(MAPS[kind]) for kind in kinds))


def create_results(
    path: Path, windows: Windows, *, classes: Sequence[str], kinds: Sequence[str], tile: int
) -> zarr.Group:
    """Create the maps of a mosaic, unwritten: no votes, and no classes.

    Parameters
    ----------
    path : Path
        Where the group shall lie.
    windows : Windows
        The windows over the mosaic.
    classes : sequence of str
        The classes' names.
    kinds : sequence of str
        ``rank``, ``mean``, or both.
    tile : int
        Side of a tile [pixel].

    Raises
    ------
    StoreError
        If something lies there already, or it cannot be written.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise StoreError(f"there is no vote {unknown[0]!r}", f"choose of: {', '.join(KINDS)}")
    try:
        group = zarr.open_group(path, mode="w-", zarr_format=3)
        group.create_array(
            "n",
            shape=windows.shape,
            dtype="int32",
            chunks=(tile, tile),
            dimension_names=("y", "x"),
        )
        for name in (name for kind in kinds for name in MAPS[kind]):
            group.create_array(
                name,
                shape=(*windows.shape, len(classes)),
                dtype="float32",
                chunks=(tile, tile, len(classes)),
                fill_value=np.nan,
                dimension_names=("y", "x", "class"),
            )
        group.attrs.update({"classes": list(classes), "tile": tile})
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be created: {error}", "choose another folder, or remove it"
        ) from error
    return group


def write_tile(group: zarr.Group, tile: Region, maps: Mapping[str, Array]) -> None:
    """Write what `model.votes.classify_tile` found in a tile.

    Raises
    ------
    StoreError
        If the tile is not one chunk of the maps: another writer would lose what is beside it.
    """
    side = int(group.attrs["tile"])  # type: ignore[arg-type]
    height, width = _map(group, "n").shape
    whole = Region(tile.y0, min(tile.y0 + side, height), tile.x0, min(tile.x0 + side, width))
    if tile.y0 % side or tile.x0 % side or tile != whole:
        raise StoreError(
            f"{tile} is not a tile of {side} pixels of these maps", "take the tiles of `Windows.tiles`"
        )
    for name, values in maps.items():
        _map(group, name)[tile.slices] = values


def tile_files(group: zarr.Group, tile: Region) -> list[str]:
    """Return the files of a tile within the group's folder, that of ``n`` last: it vouches for the others.

    A map that says nothing of a tile, as at a field's edge, has no file of it.
    """
    side = int(group.attrs["tile"])  # type: ignore[arg-type]
    place = (tile.y0 // side, tile.x0 // side)
    names = sorted((name for name in group.array_keys()), key=lambda name: (name == "n", name))
    return [
        f"{name}/{_map(group, name).metadata.encode_chunk_key((*place, *[0] * (_map(group, name).ndim - 2)))}"
        for name in names
    ]


def write_fits(group: zarr.Group, folder: Path, *, header: fits.Header | None = None) -> list[Path]:
    """Write the maps as FITS files, a strip of rows at a time.

    There is ``n.fits`` (int32), and of each class ``<class>.fits`` with the share of votes and
    ``<class>_mean.fits`` and ``<class>_var.fits``, as far as there are such maps.

    Parameters
    ----------
    group : zarr.Group
        The maps.
    folder : Path
        Where to write them.
    header : astropy.io.fits.Header, optional
        Whose sky coordinates to copy.

    Raises
    ------
    StoreError
        If a file is there already, or cannot be written.
    """
    classes: Any = group.attrs["classes"]
    suffixes = {"rank": "", "mean": "_mean", "variance": "_var"}
    planes = {
        f"{name}{suffixes[key]}.fits": (key, number)
        for key in suffixes
        if key in group
        for number, name in enumerate(classes)
    }
    written = [folder / "n.fits", *(folder / name for name in planes)]
    if found := [path for path in written if path.exists()]:
        raise StoreError(f"{found[0]} is there already", "choose another folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _stream(written[0], _map(group, "n"), (), header)
        for path, (key, number) in zip(written[1:], planes.values(), strict=True):
            _stream(path, _map(group, key), (number,), header)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error}", "free space, or choose another folder"
        ) from error
    return written


def _stream(path: Path, values: Any, place: tuple[int, ...], header: fits.Header | None) -> None:
    """Write the plane ``values[..., *place]`` of a Zarr array, strip by strip."""
    height, width = values.shape[:2]
    bits = 32 if values.dtype.kind == "i" else -32
    layout = {"SIMPLE": True, "BITPIX": bits, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height}
    head = fits.Header(layout)
    head.extend([] if header is None else header.copy(strip=True), unique=True)
    with fits.StreamingHDU(str(path), head) as stream:
        for y in range(0, height, _STRIP_ROWS):
            strip = values[(slice(y, y + _STRIP_ROWS), slice(None), *place)]
            stream.write(np.ascontiguousarray(strip, values.dtype))


def _map(group: zarr.Group, name: str) -> Any:
    return group[name]
