import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sandbox.ids import pack_objid, pack_specobjid, run2d_name, unpack_objid, unpack_specobjid


def test_recorded_ids_unpack_to_their_recorded_parts() -> None:
    # a row of SkyServer's crossid answer: plate 751, mjd 52251, fibre 160, run2d 26
    parts = unpack_specobjid(np.array([845594848269461504], dtype=np.uint64))
    assert {name: int(value[0]) for name, value in parts.items()} == {
        "plate": 751, "fiberID": 160, "mjd": 52251, "run2d": 26,
    }  # fmt: skip
    assert int(pack_specobjid(751, 160, 52251, 26)) == 845594848269461504


def test_a_photometric_id_of_sdss_is_packed_bit_for_bit() -> None:
    assert int(pack_objid(1904, 3, 163, 125)) == 1237653651835781245


@given(st.integers(1, 16383), st.integers(1, 4095), st.integers(50000, 66383), st.integers(0, 16383))
def test_spectroscopic_ids_round_trip(plate: int, fiber: int, mjd: int, run2d: int) -> None:
    packed = pack_specobjid(plate, fiber, mjd, run2d)
    assert packed.dtype == np.uint64
    assert (int(packed) >= 2**63) == (plate >= 8192)
    parts = unpack_specobjid(packed)
    assert [int(parts[name]) for name in ("plate", "fiberID", "mjd", "run2d")] == [plate, fiber, mjd, run2d]


@given(st.integers(0, 65535), st.integers(1, 6), st.integers(0, 4095), st.integers(0, 65535))
def test_photometric_ids_round_trip_and_stay_below_two_to_the_63(
    run: int, camcol: int, field: int, obj: int
) -> None:
    packed = pack_objid(run, camcol, field, obj)
    assert int(packed) < 2**63
    parts = unpack_objid(packed)
    assert [int(parts[name]) for name in ("run", "camcol", "field", "obj")] == [run, camcol, field, obj]


def test_reductions_are_spelled_as_sdss_spells_them() -> None:
    assert [run2d_name(number) for number in (26, 103, 1302)] == ["26", "103", "v5_13_2"]
