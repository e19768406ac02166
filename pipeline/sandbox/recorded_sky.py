"""Serve a folder of recorded answers: ``specobj.csv``, ``photoobj.csv``, ``cutouts.csv``, ``jpeg/``."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from pipeline.sandbox.ids import run2d_name, unpack_objid, unpack_specobjid
from pipeline.sandbox.parameters import CsstRequest, FitsRequest, FrameRequest
from pipeline.sandbox.picture_folder import is_picture_folder, read_pictures
from pipeline.sandbox.sky import WrongGeometryError, unit_vectors
from schemas.errors import StoreError

_SPEC_TYPES = {
    "specObjID": pa.uint64(),
    "bestObjID": pa.int64(),
    "plate": pa.int32(),
    "mjd": pa.int32(),
    "fiberID": pa.int32(),
    "ra": pa.float64(),
    "dec": pa.float64(),
    "z": pa.float32(),
    "zErr": pa.float32(),
    "zWarning": pa.int32(),
    "zOffset": pa.float32(),
    "velDisp": pa.float32(),
    "velDispErr": pa.float32(),
    "class": pa.string(),
    "subClass": pa.string(),
    "sciencePrimary": pa.int32(),
    "run2d": pa.string(),
}
_PHOTO_TYPES = {"objID": pa.int64(), "ra": pa.float64(), "dec": pa.float64(), "type": pa.int32()}
_CUTOUT_COLUMNS = ("ra", "dec", "scale", "width", "height", "file")


@dataclass(frozen=True)
class _Cutouts:
    """Where the recorded cutouts are: unit vectors ``(n, 3)``, and their geometry."""

    vectors: NDArray[np.float64]
    scale_arcsec: NDArray[np.float64]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    files: tuple[Path, ...]


class RecordedSky:
    """A sky made of recorded answers, served byte for byte.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``specobj.csv``, ``photoobj.csv``, ``cutouts.csv`` and the files it names, in ``jpeg/``; or labelled
        pictures, see `pipeline.sandbox.picture_folder`.

    Raises
    ------
    StoreError
        If a file or column is missing, or a value cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            raise StoreError(
                f"the recorded sky {folder} is not a folder",
                "give a folder with specobj.csv, photoobj.csv, cutouts.csv and jpeg/, or --sky default",
            )
        if is_picture_folder(folder):
            photo, cutouts = read_pictures(folder)
            spec = pa.schema(list(_SPEC_TYPES.items())).empty_table()
        else:
            spec = _read(folder / "specobj.csv", _SPEC_TYPES, ("specObjID", "ra", "dec"))
            photo = _read(folder / "photoobj.csv", _PHOTO_TYPES, ("objID", "ra", "dec"))
            cutouts = _read_cutouts(folder)
        self._tables = {
            "SpecObjAll": _derived(spec, _spec_defaults),
            "PhotoObjAll": _derived(photo, _photo_defaults),
        }
        self._cutouts = _placed(cutouts, folder)

    @property
    def tables(self) -> Mapping[str, pa.Table]:
        """Base tables by name."""
        return self._tables

    @property
    def late_tables(self) -> Mapping[str, Callable[[], pa.Table]]:
        """None: all is there from the start."""
        return {}

    def jpeg(self, ra: float, dec: float, scale: float, width: int, height: int) -> bytes | None:
        """Return the recorded cutout within half a pixel of a position, or None.

        See Also
        --------
        pipeline.sandbox.sky.Sky.jpeg
        """
        known = self._cutouts
        chord = np.linalg.norm(known.vectors - unit_vectors(np.array([ra]), np.array([dec])), axis=1)
        nearest = int(np.argmin(chord))
        pixel_arcsec = float(known.scale_arcsec[nearest])
        if np.degrees(chord[nearest]) * 3600 > 0.5 * max(pixel_arcsec, scale):
            return None
        has = (pixel_arcsec, int(known.width[nearest]), int(known.height[nearest]))
        if abs(has[0] - scale) > 1e-6 or has[1:] != (width, height):
            raise WrongGeometryError(
                f"this recorded sky has the cutout at ({ra}, {dec}) with scale={has[0]:g}, width={has[1]}, "
                f"height={has[2]}; asked for scale={scale:g}, width={width}, height={height}"
            )
        return known.files[nearest].read_bytes()

    def fits(self, wanted: FitsRequest) -> bytes | None:
        """Refuse: a recorded sky has JPEGs only.

        See Also
        --------
        pipeline.sandbox.sky.Sky.fits
        """
        raise WrongGeometryError(f"this recorded sky has JPEGs only; asked for {wanted.layer}")

    def csst(self, wanted: CsstRequest) -> bytes | None:
        """Refuse: a recorded sky has JPEGs only.

        See Also
        --------
        pipeline.sandbox.sky.Sky.csst
        """
        raise WrongGeometryError(f"this recorded sky has JPEGs only; asked for {wanted.geometry}")

    def frame(self, wanted: FrameRequest, *, blank: bool = False) -> bytes | None:
        """Refuse: a recorded sky has JPEGs only.

        See Also
        --------
        pipeline.sandbox.sky.Sky.frame
        """
        raise WrongGeometryError(f"this recorded sky has JPEGs only; asked for the frame {wanted.name}")


def _read(path: Path, types: Mapping[str, pa.DataType], needed: tuple[str, ...]) -> pa.Table:
    """Read a CSV; standard columns get SDSS's spelling and type, others come as they are."""
    try:
        with path.open(newline="") as lines:
            header = next(csv.reader(lines), [])
        known = {name.lower(): name for name in types}
        spelled = [known.get(name.strip().lower(), name.strip()) for name in header]
        options = pacsv.ConvertOptions(
            column_types={n: types[n] for n in spelled if n in types}, strings_can_be_null=False
        )
        table = pacsv.read_csv(
            path, read_options=pacsv.ReadOptions(column_names=spelled, skip_rows=1), convert_options=options
        )
    except (OSError, pa.ArrowException) as fault:
        raise StoreError(
            f"the recorded sky's {path.name} cannot be read: {fault}", f"repair {path}"
        ) from fault
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise StoreError(f"{path} lacks the column(s) {', '.join(missing)}", "add them to the file")
    return table


def _derived(table: pa.Table, defaults: Callable[[pa.Table], dict[str, pa.Array]]) -> pa.Table:
    for name, values in defaults(table).items():
        if name not in table.column_names:
            table = table.append_column(name, values)
    return table


def _spec_defaults(table: pa.Table) -> dict[str, pa.Array]:
    ids = table["specObjID"].to_numpy()
    parts = unpack_specobjid(ids)
    ones = np.ones(len(ids), dtype=np.int32)
    columns = {name: pa.array(parts[name].astype(np.int32)) for name in ("plate", "mjd", "fiberID")}
    columns["run2d"] = pa.array([run2d_name(int(number)) for number in parts["run2d"]], pa.string())
    columns["class"] = pa.array(["GALAXY"] * len(ids), pa.string())
    columns["zWarning"] = pa.array(ones * 0)
    columns["zOffset"] = pa.array(np.zeros(len(ids), dtype=np.float32))
    columns["sciencePrimary"] = pa.array(ones)
    return columns


def _photo_defaults(table: pa.Table) -> dict[str, pa.Array]:
    parts = unpack_objid(table["objID"].to_numpy().astype(np.uint64))
    columns = {name: pa.array(values.astype(np.int32)) for name, values in parts.items()}
    ones = np.ones(table.num_rows, dtype=np.int32)
    return columns | {"type": pa.array(3 * ones), "mode": pa.array(ones), "clean": pa.array(ones)}


def _read_cutouts(folder: Path) -> pa.Table:
    types = {"ra": pa.float64(), "dec": pa.float64(), "scale": pa.float64(), "width": pa.int64()}
    return _read(folder / "cutouts.csv", types | {"height": pa.int64(), "file": pa.string()}, _CUTOUT_COLUMNS)


def _placed(table: pa.Table, folder: Path) -> _Cutouts:
    if table.num_rows == 0:
        raise StoreError(f"{folder / 'cutouts.csv'} has no rows", "record at least one cutout")
    files = tuple(folder / "jpeg" / name for name in table["file"].to_pylist())
    lost = [path.name for path in files if not path.is_file()]
    if lost:
        raise StoreError(
            f"{len(lost)} of the {len(files)} cutouts of {folder} are missing, {lost[0]} first",
            "restore the files in jpeg/ or take their rows out of cutouts.csv",
        )
    column = {name: table[name].to_numpy() for name in _CUTOUT_COLUMNS[:-1]}
    vectors = unit_vectors(column["ra"], column["dec"])
    return _Cutouts(vectors, column["scale"], column["width"], column["height"], files)
