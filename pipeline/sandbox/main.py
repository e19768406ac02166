"""The command-line verb ``skymill sandbox``: read its options and serve."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.sandbox.options import TRANSIENT_KINDS, Faults, SandboxOptions
from schemas.errors import SkymillError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sandbox's options to a parser."""
    default = SandboxOptions()
    add = parser.add_argument
    add("--sky", default=default.sky, help="'default', or the folder of a recorded sky")
    add("--host", default=default.host, help="address to listen on (%(default)s)")
    add("--port", type=int, default=default.port, help="port to listen on; 0 takes a free one")
    add("--seed", type=int, default=default.seed, help="seed of the default sky (%(default)s)")
    add(
        "--transient",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of cutouts that fail once or twice",
    )
    add("--sql-transient", type=float, default=0.0, metavar="SHARE", help="the same for queries")
    add(
        "--outside", type=float, default=0.0, metavar="SHARE", help="share of positions outside the footprint"
    )
    add("--outside-as", choices=("404", "tile"), default="404", help="status 404, or 200 with a black tile")
    add("--kinds", default=",".join(TRANSIENT_KINDS), help="kinds of transient faults (%(default)s)")
    add("--fault-seed", type=int, default=0, help="seed of the faults (%(default)s)")
    add("--stall", type=float, default=Faults().stall_s, metavar="S", help="how long a stalled answer hangs")
    add("--rate", type=float, default=None, metavar="PER_S", help="requests a second that are allowed")
    add("--connections", type=int, default=None, help="open connections that are allowed")
    add("--latency", type=float, default=0.0, metavar="S", help="seconds added to each answer")
    add("--row-cap", type=int, default=default.row_cap, help="rows a query may return (%(default)s)")
    add(
        "--max-query",
        type=int,
        default=default.max_query_chars,
        help="characters of a query string (%(default)s)",
    )
    add("--csst-galaxies", type=int, default=default.csst_galaxies, help="in the CSST mock (%(default)s)")
    add("--stamps", type=Path, default=None, metavar="FOLDER", help="HST stamps for the CSST mock")
    add("--cache", type=Path, default=None, metavar="FOLDER", help="keep drawn cutouts here")


def to_arguments(options: SandboxOptions) -> list[str]:
    """Spell options as the command line does: `read_options` of the result gives them back."""
    faults = options.faults
    words = {
        "--sky": options.sky,
        "--host": options.host,
        "--port": options.port,
        "--seed": options.seed,
        "--transient": faults.transient,
        "--sql-transient": faults.sql_transient,
        "--outside": faults.outside,
        "--outside-as": faults.outside_as,
        "--kinds": ",".join(faults.kinds),
        "--fault-seed": faults.seed,
        "--stall": faults.stall_s,
        "--rate": options.rate_limit_per_s,
        "--connections": options.connection_limit,
        "--latency": options.latency_s,
        "--row-cap": options.row_cap,
        "--max-query": options.max_query_chars,
        "--csst-galaxies": options.csst_galaxies,
        "--stamps": options.stamps,
        "--cache": options.cache_dir,
    }
    return [f"{name}={value}" for name, value in words.items() if value is not None]


def read_options(args: argparse.Namespace) -> SandboxOptions:
    """Return the options that parsed arguments say.

    Raises
    ------
    SkymillError
        If a share or a kind of fault is not one.
    """
    try:
        faults = Faults(
            transient=args.transient,
            outside=args.outside,
            sql_transient=args.sql_transient,
            seed=args.fault_seed,
            kinds=tuple(args.kinds.split(",")),
            outside_as=args.outside_as,
            stall_s=args.stall,
        )
    except ValueError as fault:
        raise SkymillError(
            f"the sandbox's faults are wrong: {fault}", "see skymill sandbox --help"
        ) from fault
    return SandboxOptions(
        sky=args.sky,
        host=args.host,
        port=args.port,
        faults=faults,
        rate_limit_per_s=args.rate,
        connection_limit=args.connections,
        latency_s=args.latency,
        row_cap=args.row_cap,
        max_query_chars=args.max_query,
        cache_dir=args.cache,
        seed=args.seed,
        csst_galaxies=args.csst_galaxies,
        stamps=args.stamps,
    )


def run(words: Sequence[str]) -> int:
    """Read the words that follow ``skymill sandbox``, and serve until SIGTERM or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="skymill sandbox", description="A sky that answers as SkyServer does."
    )
    add_arguments(parser)
    options = read_options(parser.parse_args(words))
    # The server's libraries take a second to load, which --help must not wait for.
    importlib.import_module("pipeline.sandbox.server").serve(options)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except SkymillError as fault:
        print(f"skymill sandbox: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
