"""The sky of the mock survey: galaxy n as a row, an image and a FITS file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.csst.bands import BANDS, LIMIT_MAG, ab_mag, counts_per_flux
from pipeline.sandbox.csst.drawing import FIELD_PX, add_noise, coloured, from_stamp, parametric
from pipeline.sandbox.csst.photometry import Measured, measure
from pipeline.sandbox.csst.population import Galaxy, Population
from pipeline.sandbox.csst.stamps import Stamp, read_stamps
from pipeline.sandbox.fits_answers import csst_answer
from pipeline.sandbox.parameters import CsstRequest
from schemas.errors import SourceError
from schemas.imaging import CSST_ARCSEC, CSST_PIXELS

Light = NDArray[np.float32]
STAMP_SHARE = 0.4
"""Share of the galaxies that are real ones where there are stamps; the hundred repeat the less."""
_CANDIDATES = 8
_LARGEST_ZOOM = 1.1  # beyond, HST's PSF would be as wide as CSST's
_CENTRE_DEG, _SIDE_DEG = (150.1, 2.2), 4.0  # a patch about the COSMOS field
_TRUTH, _NOISE, _PLACE = 1, 2, 3
_CHUNK = 1024
_MIDDLE = slice((FIELD_PX - CSST_PIXELS) // 2, (FIELD_PX + CSST_PIXELS) // 2)

SCHEMA = pa.schema(
    [("id", pa.int64())]
    + [(name, pa.float64()) for name in ("ra", "dec", "z")]
    + [(f"{kind}_{band}", pa.float64()) for kind in ("flux", "err", "true_mag") for band in BANDS]
    + [(name, pa.float64()) for name in ("true_bulge_share", "true_radius_arcsec", "aperture_arcsec")]
    + [("true_early", pa.bool_()), ("stamp", pa.int32()), ("flags", pa.int32()), ("reason", pa.string())],
    metadata={"bands": ",".join(BANDS), "flux_unit": "erg/s/cm^2/Hz", "image_unit": "count"},
)
"""Columns of a row. Fluxes and errors are in erg/s/cm^2/Hz; ``stamp`` is -1 where the galaxy is drawn from
profiles; ``flags`` are bits of `Trouble`, 0 for the sample, and ``reason`` says them in words."""


@dataclass(frozen=True)
class Seen:
    """A galaxy as seen: its row and its image ``(32, 32, 7)`` [count]."""

    row: dict[str, Any]
    image: Light


class CsstSky:
    """A mock sky; galaxy n is a function of the seed, of n, and of whether there are stamps.

    Parameters
    ----------
    seed : int
        Seed of everything.
    count : int
        Number of galaxies. Those that the survey would not select are rows, too, with their reason.
    stamps : pathlib.Path or None
        Folder of HST stamps; without it all galaxies are drawn from profiles.

    Raises
    ------
    SourceError
        If the folder has no stamps, or the seed or the count is negative.
    """

    def __init__(self, seed: int, count: int, stamps: Path | None) -> None:
        if seed < 0 or count < 0:
            raise SourceError(
                f"A sky of seed {seed} cannot have {count} galaxies; expected both to be 0 or more.",
                "Give a seed and a count that are not negative.",
            )
        self._seed, self._count = seed, count
        self._population = Population()
        self._counts_per_flux = counts_per_flux()
        self._stamps: tuple[Stamp, ...] = () if stamps is None else read_stamps(stamps)
        self._log_radii = np.log([stamp.radius_arcsec for stamp in self._stamps])
        self._early = np.array([stamp.early for stamp in self._stamps], dtype=bool)

    def __len__(self) -> int:
        return self._count

    def row(self, n: int) -> dict[str, Any]:
        """Return galaxy n as `SCHEMA` lays it out, its fluxes measured on its image."""
        return self.see(n).row

    def image(self, n: int) -> Light:
        """Return the image ``(32, 32, 7)`` of galaxy n [count], bands in the order of `BANDS`."""
        return self.see(n).image

    def see(self, n: int) -> Seen:
        """Return row and image of galaxy n at the cost of one.

        Raises
        ------
        SourceError
            If there is no galaxy n.
        """
        if not 0 <= n < self._count:
            raise SourceError(
                f"There is no galaxy {n}; this sky has {self._count}, numbered from 0.",
                "Ask for one of them, or make a larger sky: the galaxies it has already stay the same.",
            )
        rng = np.random.default_rng((self._seed, n, _TRUTH))
        truth = self._population.draw(rng)
        field, stamp = self._field(truth, rng)
        field = add_noise(field, np.random.default_rng((self._seed, n, _NOISE)))
        measured = measure(field)
        image = np.ascontiguousarray(field[:, _MIDDLE, _MIDDLE].transpose(1, 2, 0))
        ra, dec = self.position(n)
        return Seen({"id": n, "ra": ra, "dec": dec, **self._row(truth, measured), "stamp": stamp}, image)

    def position(self, n: int) -> tuple[float, float]:
        """Return where galaxy n is: right ascension and declination [deg]; nothing is drawn for it."""
        across, up = np.random.default_rng((self._seed, n, _PLACE)).uniform(-0.5, 0.5, 2) * _SIDE_DEG
        dec = _CENTRE_DEG[1] + float(up)
        return _CENTRE_DEG[0] + float(across) / float(np.cos(np.radians(dec))), dec

    def table(self, start: int = 0, stop: int | None = None) -> pa.Table:
        """Return the rows from ``start`` up to, not including, ``stop`` (default: all), made in chunks."""
        stop = self._count if stop is None else stop
        batches = [
            pa.RecordBatch.from_pylist(
                [self.row(n) for n in range(low, min(low + _CHUNK, stop))], schema=SCHEMA
            )
            for low in range(start, stop, _CHUNK)
        ]
        return pa.Table.from_batches(batches, schema=SCHEMA)

    def fits(self, n: int) -> bytes:
        """Return the image of galaxy n as a FITS file: a cube ``(7, 32, 32)`` of counts with its sky position.

        The header names the bands (``BAND1`` …), the pixel scale, and the AB magnitude of one count a band
        (``MAGZP1`` …).
        """
        seen = self.see(n)
        cards: dict[str, tuple[str | float, str]] = {"OBJECT": (str(n), "number of the galaxy")}
        for number, worth in enumerate(self._counts_per_flux, start=1):
            cards[f"MAGZP{number}"] = (float(ab_mag(1 / worth)), "AB magnitude of one count")
            cards[f"MAGLIM{number}"] = (float(LIMIT_MAG[number - 1]), "5 sigma, point source")
        wanted = CsstRequest(*self.position(n), CSST_ARCSEC, CSST_PIXELS)
        return csst_answer(seen.image.transpose(2, 0, 1), wanted, cards)

    def _field(self, truth: Galaxy, rng: np.random.Generator) -> tuple[Light, int]:
        """Draw a galaxy without noise, ``(7, 64, 64)``; say which stamp it is, -1 for none."""
        counts = (truth.bulge_flux * self._counts_per_flux, truth.disc_flux * self._counts_per_flux)
        chosen = self._choose(truth, rng) if self._stamps and rng.random() < STAMP_SHARE else -1
        if chosen < 0:
            return coloured(*parametric(truth), counts), -1
        mirrored = bool(rng.random() < 0.5)
        return coloured(*from_stamp(truth, self._stamps[chosen], mirrored=mirrored), counts), chosen

    def _choose(self, truth: Galaxy, rng: np.random.Generator) -> int:
        """Choose a stamp of the galaxy's type among those nearest in size, or -1 where all are too small."""
        zooms = np.log(truth.radius_arcsec) - self._log_radii
        nearest = np.argsort(np.abs(zooms) + (self._early != truth.early))[:_CANDIDATES]
        fitting = nearest[zooms[nearest] < np.log(_LARGEST_ZOOM)]
        return int(rng.choice(fitting)) if len(fitting) else -1

    def _row(self, truth: Galaxy, measured: Measured) -> dict[str, Any]:
        worth = self._counts_per_flux
        columns = {
            "flux": measured.counts / worth,
            "err": measured.errors / worth,
            "true_mag": ab_mag(truth.bulge_flux + truth.disc_flux),
        }
        return {
            "z": truth.z,
            **{
                f"{kind}_{b}": float(v)
                for kind, row in columns.items()
                for b, v in zip(BANDS, row, strict=True)
            },
            "true_bulge_share": truth.bulge_share,
            "true_radius_arcsec": truth.radius_arcsec,
            "aperture_arcsec": measured.aperture_px[0] * CSST_ARCSEC,
            "true_early": truth.early,
            "flags": int(measured.trouble),
            "reason": measured.trouble.reason,
        }
