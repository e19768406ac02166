"""Write a catalogue as HATS, the partitioned Parquet that ``lsdb`` opens.

A call of hats-import, which is an extra: ``pip install skymill[hats]``. This module is found by name when
it is needed, so that nobody else pays for its import.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from distributed import Client
from hats_import.catalog.arguments import ImportArguments
from hats_import.pipeline import pipeline_with_client

from pipeline.stores.staging import disk_errors


def write_hats(*, parts: Sequence[str], out: str, name: str, address: str) -> int:
    """Write Parquet parts of predictions as one HATS catalogue, and return its size [byte].

    Parameters
    ----------
    parts : sequence of str
        Prediction parts, as `model.prediction.predict_block` writes them.
    out : str
        Folder of the catalogue; one that is there is replaced.
    name : str
        Name of the catalogue.
    address : str
        Dask scheduler whose workers do it.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    final = Path(out)
    with disk_errors(final), Client(address) as client:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".hats-") as temporary:
            arguments = ImportArguments(
                output_path=temporary,
                output_artifact_name=name,
                input_file_list=[str(part) for part in parts],
                file_reader="parquet",
                ra_column="ra",
                dec_column="dec",
                progress_bar=False,
                should_write_skymap=False,
            )
            pipeline_with_client(arguments, client)
            shutil.rmtree(final, ignore_errors=True)
            Path(temporary, name).rename(final)
    return sum(path.stat().st_size for path in final.rglob("*") if path.is_file())
