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
  9 another driver works on this run   75 server or database down: run again later   130/143 interrupted: run again
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
        _add_run_file(verb, function)
        if name == "verify":
            verb.add_argument("--repair", action="store_true", help="fetch or make again what is damaged")
    _add_catalog(verbs)
    _add_database(verbs)
    sandbox = verbs.add_parser("sandbox", help="serve a small sky as SkyServer does", add_help=False)
    sandbox.set_defaults(function="pipeline.sandbox.main:run")
    return parser


def _add_run_file(verb: argparse.ArgumentParser, function: str) -> None:
    verb.add_argument("run_file", metavar="RUN.toml", help="the run file")
    verb.add_argument("words", metavar="key=value", nargs="*", help="override a key of the run file")
    verb.set_defaults(function=function)


def _add_catalog(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    catalog = verbs.add_parser("catalog", help="list, show, roll back or drop published versions")
    actions = catalog.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in {
        "list": "list the versions",
        "show": "show the current version, or the one given",
        "rollback": "make an earlier version the current one",
        "drop": "delete a version that is not the current one",
        "hats": "write the current version as HATS, the Parquet that lsdb opens",
    }.items():
        action = actions.add_parser(name, help=text)
        if name not in ("list", "hats"):
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
    signal.signal(signal.SIGTERM, _stop)
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
    except (KeyboardInterrupt, _Terminated) as stop:
        print("skymill: interrupted; nothing is lost, run the same command again to go on", file=sys.stderr)
        return 143 if isinstance(stop, _Terminated) else 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        logging.getLogger(__name__).exception("unexpected")
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


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Terminated
