"""Pack and unpack SDSS's 64-bit identifiers.

Layouts as SDSS documents them for DR8 and later. ``specObjID`` needs all 64 bits (plates from 8192 on pass
``2**63``), so everything here is ``uint64``.
"""

import numpy as np
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]


def _field(values: object, shift: int) -> UInt64:
    return np.asarray(values).astype(np.uint64) << np.uint64(shift)


def _part(ids: UInt64, shift: int, bits: int) -> NDArray[np.int64]:
    return ((ids >> np.uint64(shift)) & np.uint64((1 << bits) - 1)).astype(np.int64)


def pack_specobjid(plate: object, fiber: object, mjd: object, run2d: object) -> UInt64:
    """Pack spectroscopic identifiers.

    Parameters
    ----------
    plate, fiber, mjd, run2d : array_like of int
        Plate number, fibre, modified Julian date [day], and the number that stands for the reduction
        (26 for ``26``; ``(N - 5) * 10000 + M * 100 + P`` for ``vN_M_P``).

    Returns
    -------
    numpy.ndarray of uint64
    """
    days = np.asarray(mjd).astype(np.int64) - 50000
    return _field(plate, 50) | _field(fiber, 38) | _field(days, 24) | _field(run2d, 10)


def unpack_specobjid(ids: UInt64) -> dict[str, NDArray[np.int64]]:
    """Return ``plate``, ``fiberID``, ``mjd`` and the reduction's number of spectroscopic identifiers.

    >>> {k: int(v) for k, v in unpack_specobjid(np.uint64(845594848269461504)).items()}
    {'plate': 751, 'fiberID': 160, 'mjd': 52251, 'run2d': 26}
    """
    return {
        "plate": _part(ids, 50, 14),
        "fiberID": _part(ids, 38, 12),
        "mjd": _part(ids, 24, 14) + 50000,
        "run2d": _part(ids, 10, 14),
    }


def run2d_name(number: int) -> str:
    """Spell a reduction's number as SDSS does.

    >>> run2d_name(26), run2d_name(1302)
    ('26', 'v5_13_2')
    """
    if number < 1000:
        return str(number)
    return f"v{number // 10000 + 5}_{number // 100 % 100}_{number % 100}"


def pack_objid(run: object, camcol: object, field: object, obj: object, *, rerun: int = 301) -> UInt64:
    """Pack photometric identifiers of sky version 2 (DR8 and later)."""
    head = np.uint64(2 << 59 | rerun << 48)
    return head | _field(run, 32) | _field(camcol, 29) | _field(field, 16) | _field(obj, 0)


def unpack_objid(ids: UInt64) -> dict[str, NDArray[np.int64]]:
    """Return sky version, run, rerun, camcol, field and object number of photometric identifiers.

    >>> {k: int(v) for k, v in unpack_objid(np.uint64(1237653651835781245)).items()}
    {'skyVersion': 2, 'rerun': 301, 'run': 1904, 'camcol': 3, 'field': 163, 'obj': 125}
    """
    return {
        "skyVersion": _part(ids, 59, 4),
        "rerun": _part(ids, 48, 11),
        "run": _part(ids, 32, 16),
        "camcol": _part(ids, 29, 3),
        "field": _part(ids, 16, 12),
        "obj": _part(ids, 0, 16),
    }
