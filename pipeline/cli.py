"""The command ``skymill``.

Nothing heavy is imported here: a verb's module is found by name when the verb is used, so that
``skymill --help`` answers at once.
"""

import argparse
import importlib.metadata
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from cluster.logs import close_logs, open_logs
from cluster.rooms import check_rooms
from cluster.work import find
from schemas.errors import SkymillError

EPILOG = """exit codes:
  0 done   1 failed   2 run file has faults   3 plan refused   4 survey server's answer unusable
  5 product cannot be written, or damaged   6 database refused   7 model or training   8 worker failed too often
  9 another driver works on this run   10 batch scheduler refused
  75 server, database or scheduler down: run again later   130/143 interrupted: run again
"""

RUN_VERBS = {
    "plan": ("say what a run will need, and what is wrong with it", "pipeline.verbs:plan"),
    "run": ("do what is left of a run: pull, fetch, train, infer, publish, report", "pipeline.verbs:run"),
    "status": ("say how far a run is", "pipeline.looking:status"),
    "retry": ("ask again for the objects that failed and may succeed, then go on", "pipeline.verbs:retry"),
    "verify": ("re-read and re-hash every product of a run", "pipeline.verbs:verify"),
    "report": ("write the report again", "pipeline.verbs:report"),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="skymill",
        description="A mill for surveys: from an SQL sample to a versioned catalogue in Postgres.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("skymill"))
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (text, function) in RUN_VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
        _add_run_file(verb, function, optional=name == "plan")
        if name == "plan":
            verb.add_argument(
                "--objects", type=float, help="how many objects it is to be instead, such as 5e6"
            )
            verb.add_argument("--site", default="", help="site file, or its name: where it is to be done")
            verb.add_argument("--nodes", type=int, default=1, help="jobs of each pool (default: %(default)s)")
        if name == "run":
            verb.add_argument(
                "--site", default="", help="let the workers be jobs of a site; the driver stays here"
            )
            verb.add_argument(
                "--nodes",
                type=int,
                default=1,
                help="workers; one that dies is replaced (default: %(default)s)",
            )
        if name == "verify":
            verb.add_argument("--repair", action="store_true", help="fetch or make again what is damaged")
    _add_submission(verbs)
    _add_catalog(verbs)
    _add_database(verbs)
    sandbox = verbs.add_parser("sandbox", help="serve a small sky as SkyServer does", add_help=False)
    sandbox.set_defaults(function="pipeline.sandbox.main:run")
    return parser


def _add_run_file(verb: argparse.ArgumentParser, function: str, *, optional: bool = False) -> None:
    verb.add_argument("run_file", metavar="RUN.toml", nargs="?" if optional else None, help="the run file")
    verb.add_argument("words", metavar="key=value", nargs="*", help="override a key of the run file")
    verb.set_defaults(function=function)


def _add_submission(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    submit = verbs.add_parser("submit", help="have a run done by the batch jobs of a site")
    _add_site(submit)
    submit.add_argument(
        "--print", action="store_true", dest="only_print", help="show the scripts, submit nothing"
    )
    _add_run_file(submit, "pipeline.submitting:submit")
    cancel = verbs.add_parser("cancel", help="end the jobs of a submitted run; what is done stays done")
    _add_run_file(cancel, "pipeline.cancelling:cancel")
    logs = verbs.add_parser("logs", help="show the ends of the logs of a submitted run's jobs")
    logs.add_argument("--lines", type=int, default=20, help="lines of each (default: %(default)s)")
    logs.add_argument("--job", default="", help="only of this job, or of driver")
    _add_run_file(logs, "pipeline.looking:logs")
    ping = verbs.add_parser("ping", help="have a short job look at a site, before a run is submitted there")
    ping.add_argument("--site", required=True, help="site file, or its name")
    ping.add_argument("--pool", default="", help="only this pool")
    ping.add_argument(
        "--wait", type=float, default=600.0, help="longest wait for the jobs [s] (default: %(default)s)"
    )
    ping.add_argument(
        "run_file", metavar="RUN.toml", nargs="?", help="whose server, database and folders to try"
    )
    ping.set_defaults(function="pipeline.pinging:ping")
    scale = verbs.add_parser("scale", help="do the same work on several numbers of nodes, and fit a law")
    scale.add_argument("--nodes", required=True, help="numbers of nodes, such as 1,2,4,8")
    scale.add_argument("--site", default="", help="site file, or its name; by default on this machine")
    scale.add_argument(
        "--stage", default="all", choices=("fetch", "train", "infer", "publish", "all", "none")
    )
    scale.add_argument("--weak", action="store_true", help="the same work a node, not in all")
    scale.add_argument("--repeats", type=int, default=3, help="of each number (default: %(default)s)")
    scale.add_argument("--blocks", type=int, default=10_000, help="blocks without work, for --stage none")
    _add_run_file(scale, "pipeline.scaling:scale")


def _add_site(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--site", required=True, help="site file, or its name")
    verb.add_argument(
        "--nodes", type=int, default=1, help="jobs of each pool that does not fix it (default: 1)"
    )


def _add_catalog(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    catalog = verbs.add_parser("catalog", help="list, show, roll back or drop published versions")
    actions = catalog.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in {
        "list": "list the versions",
        "show": "show the current version, or the one given",
        "rollback": "make an earlier version the current one",
        "drop": "delete a version that is not the current one",
        "hats": "write the current version as HATS, the Parquet that lsdb opens",
        "qp": "write the PDFs of the current version as HDF5, which qp opens",
    }.items():
        action = actions.add_parser(name, help=text)
        if name not in ("list", "hats", "qp"):
            action.add_argument(
                "--version", type=int, required=name == "drop", help="version number", dest="number"
            )
        _add_run_file(action, "pipeline.versions:catalog")


def _add_database(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    database = verbs.add_parser("db", help="start, stop or ask for the embedded database")
    actions = database.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in {
        "start": "start it",
        "stop": "stop it",
        "status": "say whether it runs",
        "url": "print its connection string (without the password)",
    }.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("--directory", help="its folder (default: .skymill/postgres)")
        action.set_defaults(function="pipeline.database:database")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger().addHandler(logging.NullHandler())  # else an unexpected error greets with a traceback
    logging.raiseExceptions = False  # a log on a full disk must not greet with one either
    logging.getLogger("distributed").setLevel(logging.ERROR)
    stops = _Stops()
    args, rest = build_parser().parse_known_args(argv)
    try:
        check_rooms()
        if args.verb == "sandbox":
            return int(find(args.function)(rest) or 0)
        if any(word.startswith("-") for word in rest) or (rest and "words" not in args):
            build_parser().error(f"unrecognized arguments: {' '.join(rest)}")
        if rest:  # argparse takes no more positional words once it has met an option
            args.words += rest
        return int(find(args.function)(args) or 0)
    except SkymillError as error:
        print(f"skymill: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except (KeyboardInterrupt, _Terminated):
        return stops.tell()
    except BrokenPipeError:
        return 0
    except Exception as error:
        logging.getLogger(__name__).exception("unexpected")
        if stops.number:
            return stops.tell()
        print(
            f"skymill: unexpected {type(error).__name__}: {error}\n  remedy: {_report(error)}",
            file=sys.stderr,
        )
        return 1
    finally:
        close_logs()


def _report(error: Exception) -> str:
    """Say where a fault of skymill can be read up: in the log, if the verb keeps one, or its last place."""
    logs = [path for path in open_logs() if path.is_file()]
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"the traceback in {logs[-1]}" if logs else f"line {last.lineno} of {last.filename}"
    return f"this is a fault of skymill: report it, with {where}"


class _Terminated(BaseException):
    """SIGTERM came; like Ctrl-C it must pass every ``except Exception``."""


class _Stops:
    """SIGTERM and Ctrl-C, and that one came: DuckDB makes its own `RuntimeError` of what a handler raises."""

    def __init__(self) -> None:
        self.number = 0
        signal.signal(signal.SIGTERM, self._stop)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background of a shell
            signal.signal(signal.SIGINT, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        raise KeyboardInterrupt if number == signal.SIGINT else _Terminated

    def tell(self) -> int:
        """Say that the command was interrupted, and return its exit code."""
        print("skymill: interrupted; nothing is lost, run the same command again to go on", file=sys.stderr)
        return 128 + (self.number or signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
