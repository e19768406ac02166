"""A Dask scheduler that somebody keeps running: only the driver is a job, a process of this machine."""

from cluster.sites.local import Local
from schemas.site import Pool


class Address(Local):
    """The driver as a local job; the workers are there already."""

    def faults(self, where: str, pool: Pool) -> list[str]:
        """Return what this machine does not have for the driver; of the workers nothing is asked."""
        return super().faults(where, pool) if where == "driver" else []
