"""How the columns of a published catalogue are called, by what was learnt.

Prediction parts have one set of columns (`model.parts.COLUMNS`); three of them are published under the target's own
names. A version says in its provenance what it was learnt by, so that earlier ones keep the names they have.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.definitions import DETECTION, REDSHIFT, kind_of
from schemas.errors import PlanError

MOST_CHARS = 63
"""Length of a name in Postgres."""
_IN_THE_TABLE = "NULL in the view, NaN in the table"


@dataclass(frozen=True)
class TargetNames:
    """Names of the label, the prediction and its error, and what each means with its UCD.

    ``density`` is the UCD of the prediction's PDF.
    """

    label: str
    prediction: str
    error: str
    label_meaning: str
    prediction_meaning: str
    error_meaning: str
    density: str

    def of(self, column: str) -> str:
        """Return how a column of a part is called in the catalogue.

        >>> names_of("lambda_r", "regression").of("z_phot")
        'lambda_r_predicted'
        """
        return {"z_spec": self.label, "z_phot": self.prediction, "z_phot_err": self.error}.get(column, column)


REDSHIFTS = TargetNames(
    "z_spec",
    "z_phot",
    "z_phot_err",
    f"spectroscopic redshift; not known: {_IN_THE_TABLE} (ucd: src.redshift)",
    "photometric redshift, point estimate (ucd: src.redshift.phot;meta.main)",
    f"standard deviation of z_phot; models without one: {_IN_THE_TABLE} (ucd: stat.error;src.redshift.phot)",
    "stat.pdf;src.redshift.phot",
)


def names_of(column: str, definition: str) -> TargetNames:
    """Return the names for what was learnt from a column, and measured by a definition.

    Those of a redshift are z_spec, z_phot and z_phot_err, whatever its column. Others are made of the column, in small
    letters, as Postgres reads names that are not quoted.

    Raises
    ------
    PlanError
        The column's name is too long.

    >>> names_of("velDisp", "regression").error, names_of("signal", "detection").prediction
    ('veldisp_error', 'probability')
    """
    kind = kind_of(definition)
    if kind == REDSHIFT:
        return REDSHIFTS
    name = re.sub(r"\W+", "_", column.lower(), flags=re.ASCII)
    if len(f"{name}_predicted") > MOST_CHARS:
        raise PlanError(
            f"target.column: the catalogue's column {name}_predicted would be longer than {MOST_CHARS} characters",
            "give the column a shorter name with AS",
        )
    if kind == DETECTION:
        return TargetNames(
            f"{name}_label",
            "probability",
            "probability_error",
            f"whether it is there, 1 or 0, from the column {column}; not known: {_IN_THE_TABLE} (ucd: meta.code.class)",
            f"probability that {column} is 1, of the network (ucd: stat.probability;meta.main)",
            f"standard deviation of probability among several networks or passes; of one: {_IN_THE_TABLE} "
            "(ucd: stat.error;stat.probability)",
            "stat.pdf;stat.probability",
        )
    return TargetNames(
        f"{name}_label",
        f"{name}_predicted",
        f"{name}_error",
        f"label, the column {column} of the sample and in its unit; not known: {_IN_THE_TABLE} (ucd: stat.value)",
        f"prediction of {column}, in its unit (ucd: stat.fit.param;meta.main)",
        f"standard deviation of {name}_predicted; models without one: {_IN_THE_TABLE} (ucd: stat.error)",
        "stat.pdf",
    )


def names_in(provenance: Mapping[str, Any]) -> TargetNames:
    """Return the names a version has, from what its provenance says of the run file; those of redshifts by default.

    >>> names_in({}) is REDSHIFTS
    True
    """
    target = provenance.get("run_file", {}).get("target", {})
    return names_of(target.get("column", "z"), target.get("definition", "skymill"))
