"""What storing a PDF in fewer bytes takes from it: half floats, or quantiles, against float32 bins.

    python -m benchmarks.pdf_storage CUBE BUNDLE

Predicts the labelled rows of the validation and test part with a trained bundle, stores each PDF in every form and
reads it back as bins. A quantile form stores the z of evenly spaced levels from 0.001 to 0.999; between them the
cumulative PDF is linear.
"""

import io
import sys
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.bundles import load_bundle
from model.cubes import labelled_rows, open_cube
from model.estimates import bin_edges, estimate
from model.pdfs import cde_loss, crps
from model.predictor import Predictor
from schemas.flags import Part

Array = np.ndarray


def levels_of(count: int) -> Array:
    """Return the levels of `count` quantiles; the outermost thousandth on each side is left out."""
    return np.linspace(0.001, 0.999, count)


def as_quantiles(pdf: Array, edges: Array, count: int) -> Array:
    """Return the z of `count` evenly spaced levels of each cumulative PDF, ``(n, count)`` float32."""
    cumulative = np.concatenate([np.zeros((len(pdf), 1)), np.cumsum(pdf, axis=1)], axis=1)
    cumulative /= cumulative[:, -1:]
    return np.stack([np.interp(levels_of(count), one, edges) for one in cumulative]).astype("f4")


def from_quantiles(quantiles: Array, edges: Array) -> Array:
    """Return the bins of PDFs given as quantiles."""
    levels = levels_of(quantiles.shape[1])
    at_edges = [np.interp(edges, one + np.arange(len(one)) * 1e-9, levels) for one in quantiles]
    pdf = np.diff(np.stack(at_edges), axis=1)
    return pdf / pdf.sum(1, keepdims=True)


def parquet_bytes(values: Array) -> float:
    """Return the bytes a galaxy takes in a Parquet file as parts are written."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    file = io.BytesIO()
    pq.write_table(pa.table({"pdf": column}), file, compression="zstd", use_dictionary=False)
    return len(file.getvalue()) / len(values)


def main() -> None:
    cube, bundle = open_cube(sys.argv[1]), load_bundle(sys.argv[2])
    parts = labelled_rows(cube)
    rows = np.concatenate([parts[part].rows for part in (Part.VALIDATION, Part.TEST)])
    labels = np.concatenate([parts[part].labels for part in (Part.VALIDATION, Part.TEST)]).astype("f8")
    order = np.argsort(rows)
    rows, labels = rows[order], labels[order]
    pdf = Predictor([bundle])(cube.read("image")[rows])[0]
    head, edges = bundle.preset["head"], bin_edges(bundle.preset["head"])
    forms: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
        "float32 bins": (lambda x: x, lambda x: x),
        "float16 bins": (lambda x: x.astype("f2"), lambda x: x.astype("f4")),
        **{
            f"{count} quantiles": (
                lambda x, count=count: as_quantiles(x, edges, count),
                lambda x: from_quantiles(x, edges).astype("f4"),
            )
            for count in (21, 51, 101)
        },
    }
    exact, true_crps, true_cde = estimate(pdf, head), crps(pdf, edges, labels), cde_loss(pdf, edges, labels)
    print(
        f"{len(rows)} PDFs of {pdf.shape[1]} bins; float32: CRPS {true_crps.mean():.6f}, "
        f"CDE loss {true_cde.mean():.4f}\n"
    )
    print(
        "| stored as | bytes | in Parquet | max abs Δ mean z | median | max abs Δ deviation | max abs Δ CDF "
        "| Δ CRPS | Δ CDE loss |\n|" + " --- |" * 9
    )
    for name, (store, read) in forms.items():
        stored = store(pdf)
        back = read(stored)
        found = estimate(back, head)
        shift = np.abs(found.z - exact.z)
        print(
            f"| {name} | {stored.nbytes / len(pdf):.0f} | {parquet_bytes(stored):.0f} | {shift.max():.1e} "
            f"| {np.median(shift):.1e} | {np.abs(found.error - exact.error).max():.1e} "
            f"| {np.abs(np.cumsum(back.astype('f8') - pdf, axis=1)).max():.1e} "
            f"| {crps(back, edges, labels).mean() / true_crps.mean() - 1:+.1e} "
            f"| {cde_loss(back, edges, labels).mean() / true_cde.mean() - 1:+.1e} |"
        )


if __name__ == "__main__":
    main()
