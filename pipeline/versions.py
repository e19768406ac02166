"""The verb ``skymill catalog``: published versions of a catalogue."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from cluster.work import find
from pipeline.database import open_ledger
from pipeline.ledger import Ledger
from pipeline.stores import catalogue
from pipeline.stores.catalogue_versions import Version, find_version, list_versions, show
from schemas.config import RunFile
from schemas.errors import SkymillError
from schemas.runfile import load_run_file


def catalog(args: argparse.Namespace) -> int:
    """List, show, roll back, drop or export the versions of the run file's catalogue."""
    run_file = load_run_file(Path(args.run_file), words=args.words)
    name = run_file.catalogue.name
    with open_ledger(run_file) as ledger:
        connection = ledger.connection
        if args.action == "list":
            versions = list_versions(connection, name)
            for line in map(version_line, versions):
                print(line)
            if not versions:
                print(f"{name}: no versions; `skymill run {args.run_file}` publishes one")
        elif args.action == "show":
            print(json.dumps(asdict(show(connection, name, args.number)), indent=2, default=str))
        elif args.action == "rollback":
            current = catalogue.rollback(connection, name, args.number)
            print(f"{name}: version {current.version} is the current one")
        elif args.action == "hats":
            print(f"{name}: {_write_hats(ledger, run_file)}")
        elif args.action == "qp":
            print(f"{name}: {_write_qp(ledger, run_file)}")
        else:
            catalogue.drop(connection, name, args.number)
            print(f"{name}: version {args.number} is dropped")
    return 0


def _write_hats(ledger: Ledger, run_file: RunFile) -> Path:
    version = find_version(ledger.connection, run_file.catalogue.name, None)
    try:
        write = find("pipeline.stores.hats:write_hats")
    except ModuleNotFoundError as error:
        raise SkymillError(f"HATS needs {error.name}", "pip install skymill[hats]") from error
    out = run_file.folder / "hats" / run_file.catalogue.name
    with find("cluster.session:DaskSession")(run_file.cluster, scratch=run_file.scratch_folder) as session:
        write(connection=ledger.connection, version=version, out=out, client=session.client)
    return out


def _write_qp(ledger: Ledger, run_file: RunFile) -> str:
    version = find_version(ledger.connection, run_file.catalogue.name, None)
    try:
        write = find("pipeline.stores.qp_export:write_qp")
    except ModuleNotFoundError as error:
        raise SkymillError(f"qp's files need {error.name}", "pip install skymill[qp]") from error
    out = run_file.folder / "qp" / f"{run_file.catalogue.name}.hdf5"
    found = write(connection=ledger.connection, version=version, out=out)
    return f"{out} ({found.rows:,} rows, {found.left_out:,} without a PDF left out)"


def version_line(version: Version) -> str:
    """Return one line of ``skymill catalog list``."""
    when = f"{version.published:%Y-%m-%d %H:%M}" if version.published else "-"
    rows = f"{version.rows:,}" if version.rows is not None else "?"
    return f"{version.catalogue} v{version.version}  {version.state:<9}  {rows:>12} rows  {when}  run {version.run}"
