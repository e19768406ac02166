"""Every error a user of skymill can meet, drawn as one tree.

::

    SkymillError            exit 1   something failed; the message names the remedy
    ├── RunFileError        exit 2   the run file has faults (all are listed)
    ├── PlanError           exit 3   the plan cannot fit or would be wrong
    ├── SourceError         exit 4   a survey server gave a wrong answer
    │   └── SourceDown      exit 75  a survey server does not answer; run again later
    ├── StoreError          exit 5   a product cannot be written, or is damaged
    ├── DatabaseError       exit 6   Postgres refused
    │   └── DatabaseDown    exit 75  Postgres does not answer; run again
    ├── ModelError          exit 7   a preset, network, or training went wrong
    │   └── Diverged        exit 7   a loss or weights are no longer finite
    ├── WorkerError         exit 8   a task failed more often than allowed
    │   └── PeerLost        exit 8   a trainer ended because another of its group did
    ├── Busy                exit 9   another driver works on this run
    └── SiteError           exit 10  a batch scheduler refused, or its site file does not fit
        └── SiteDown        exit 75  a batch scheduler does not answer; run again

75 is ``EX_TEMPFAIL`` of sysexits.h: a batch system may simply requeue the job.
"""


class SkymillError(Exception):
    """Say what failed, and what to do about it.

    Parameters
    ----------
    message : str
        What, expected, received.
    remedy : str
        What the user can do next.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class RunFileError(SkymillError):
    """The run file has faults; all of them are listed."""

    exit_code = 2


class PlanError(SkymillError):
    """The plan cannot fit, or would give a wrong result."""

    exit_code = 3


class SourceError(SkymillError):
    """A survey server gave an answer that cannot be used."""

    exit_code = 4


class SourceDown(SourceError):
    """A survey server does not answer."""

    exit_code = 75


class StoreError(SkymillError):
    """A product cannot be written, or what was written is damaged."""

    exit_code = 5


class DatabaseError(SkymillError):
    """Postgres refused what was asked of it."""

    exit_code = 6


class DatabaseDown(DatabaseError):
    """Postgres does not answer, or the connection was lost."""

    exit_code = 75


class ModelError(SkymillError):
    """A preset, a network or its training went wrong."""

    exit_code = 7


class Diverged(ModelError):
    """A training came to a loss or to weights that are not finite: by its own values, whatever the machine."""


class WorkerError(SkymillError):
    """A task failed more often than the run file allows."""

    exit_code = 8


class PeerLost(WorkerError):
    """A trainer ended because another member of its group did, or its port was taken: it is not the cause."""


class Busy(SkymillError):
    """Another driver works on this run."""

    exit_code = 9


class SiteError(SkymillError):
    """A batch scheduler refused, is not there, or does not have what the site file says."""

    exit_code = 10


class SiteDown(SiteError):
    """A batch scheduler still does not answer after some tries."""

    exit_code = 75
