"""Write a catalogue as HATS, the partitioned Parquet that ``lsdb`` opens.

A call of hats-import, which is an extra: ``pip install skymill[hats]``. This module is found by name when
it is needed, so that nobody else pays for its import.
"""

from pathlib import Path

from distributed import Client
from hats_import.catalog.arguments import ImportArguments
from hats_import.pipeline import pipeline_with_client
from psycopg2.extensions import connection as Connection

from pipeline.stores.catalogue_export import export_version
from pipeline.stores.catalogue_versions import Version
from pipeline.stores.lock import locked
from pipeline.stores.staging import clean, disk_errors


def write_hats(*, connection: Connection, version: Version, out: Path, client: Client) -> None:
    """Write a published version as one HATS catalogue.

    Its rows are those of the version's table: the columns of the view, and HATS's own index. The version's
    number, digest and PDF are among the catalogue's properties.

    Parameters
    ----------
    connection : connection
        Of the driver.
    version : Version
        A complete one.
    out : Path
        Folder of the catalogue; one that is there is replaced when the new one is whole.
    client : Client
        Dask client whose workers do it; they must reach the folder that holds `out`.

    Raises
    ------
    Busy
        If another process writes it.
    DatabaseError
        If Postgres refuses.
    StoreError
        If the disk refuses.
    """
    building = out.with_name(f".{out.name}.new")
    with locked(out.with_name(f".{out.name}.lock"), what=f"the HATS catalogue {out}"), disk_errors(out):
        clean(building)  # what an export that was killed has left
        parts = building / "parts"
        parts.mkdir(parents=True)
        arguments = ImportArguments(
            output_path=str(building),
            output_artifact_name=version.catalogue,
            addl_hats_properties=_properties(version),
            input_file_list=[str(path) for path in export_version(connection, version, parts)],
            file_reader="parquet",
            ra_column="ra",
            dec_column="dec",
            expected_total_rows=version.rows or 0,
            progress_bar=False,
            should_write_skymap=False,
        )
        with client.as_current():  # hats-import asks for the current one as well
            pipeline_with_client(arguments, client)
        _replace(building / version.catalogue, out)
        clean(building)


def _properties(version: Version) -> dict[str, str]:
    found = {"skymill_version": str(version.version), "skymill_digest": version.digest}
    if version.pdf:
        found["skymill_pdf_edges"] = " ".join(map(str, version.pdf.edges))
    return found


def _replace(new: Path, out: Path) -> None:
    """Put `new` in the place of `out`; whenever this is cut off, one of the two is still whole."""
    old = out.with_name(f".{out.name}.old")
    if out.exists():
        clean(old)
        out.rename(old)
    new.rename(out)
    clean(old)
