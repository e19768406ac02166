"""The sandbox's service and database over a sky that is made up here."""

import asyncio
import threading

import aiohttp
import pyarrow as pa
import pytest

from pipeline.sandbox.database import SkyDatabase
from pipeline.sandbox.options import Faults, SandboxOptions
from pipeline.sandbox.parameters import FrameRequest
from pipeline.sandbox.service import SandboxService

NAMES = ("specObjID", "objID", "run", "camcol", "field", "rerun", "sciencePrimary", "mode", "type")
TABLES = dict.fromkeys(("SpecObjAll", "PhotoObjAll"), pa.table({name: [1] for name in NAMES}))
FRAME = "sas/dr17/eboss/photoObj/frames/301/94/3/frame-u-000094-3-0011.fits.bz2"


class Frames:
    """A sky of frames, which remembers what it drew: whether blank, and whether on the main thread."""

    tables, late_tables = TABLES, dict[str, object]()

    def __init__(self) -> None:
        self.drawn = list[tuple[bool, bool]]()

    def frame(self, wanted: FrameRequest, *, blank: bool = False) -> bytes:
        self.drawn.append((blank, threading.current_thread() is threading.main_thread()))
        return b"blank" if blank else b"a frame"


@pytest.mark.parametrize(
    ("kind", "answer", "drawn"),
    [
        ("error_500", (500, b"Internal Server Error\n"), [(False, False)]),
        ("black_200", (200, b"blank"), [(False, False), (True, False)]),
    ],
)
def test_a_blank_frame_is_drawn_beside_the_event_loop_and_only_to_be_shown(kind, answer, drawn):
    sky = Frames()

    async def ask() -> tuple[int, bytes]:
        service = SandboxService(sky, SandboxOptions(faults=Faults(transient=1.0, kinds=(kind,))))
        url = await service.start()
        try:
            async with aiohttp.ClientSession() as session, session.get(url + FRAME) as found:
                return found.status, await found.read()
        finally:
            await service.stop()

    assert asyncio.run(ask()) == answer
    assert sky.drawn == drawn


def test_a_late_table_that_could_not_be_made_is_asked_for_again():
    asked = []

    def late() -> pa.Table:
        asked.append(len(asked))
        if asked == [0]:
            raise MemoryError("not now")
        return pa.table({"number": [7]})

    database = SkyDatabase(TABLES, 10, late={"Late": late})
    with pytest.raises(MemoryError):
        database.query("SELECT number FROM Late")
    for _ in range(2):
        assert database.query("SELECT number FROM Late").rows == [(7,)]
    assert asked == [0, 1]
