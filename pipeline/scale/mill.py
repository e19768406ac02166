"""A mill of which as many workers take part as are measured."""

from dataclasses import replace

from cluster.desk import Manners
from pipeline.mill import Mill
from pipeline.scale.workers import LimitedSession


class ScaleMill(Mill):
    """A mill whose workers can be told to rest."""

    workers = "pipeline.scale.workers:LimitedSession"

    def __enter__(self) -> "ScaleMill":
        return self

    @property
    def session(self) -> LimitedSession:
        """The workers; they are started when they are needed first."""
        found = super().session
        assert isinstance(found, LimitedSession)
        return found

    def manners(self) -> Manners:
        """Return what all workers together may ask of the server, shared by those that take part.

        The desk gives each worker that is there an equal part of the connections, those that rest too; so it is told
        of more connections than there are, of which those that take part get no more than all.
        """
        plain, nodes = super().manners(), self.session.nodes
        if nodes is None or not nodes.count == nodes.threads <= plain.connections:
            return plain
        return replace(plain, connections=plain.connections // nodes.count * self.session.present)


def limited(mill: Mill) -> ScaleMill:
    """Return a mill of workers that can be told to rest, with the run file, ledger and view of another."""
    return ScaleMill(mill.run_file, dsn=mill.dsn, ledger=mill.ledger, view=mill.view)
