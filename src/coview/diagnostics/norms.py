"""The interplay of row and column norms: Table S4 of the duality."""

from dataclasses import dataclass

import torch

from coview.diagnostics.spectrum import Array, checked


@dataclass(frozen=True, kw_only=True)
class NormBalance:
    """Sums of fourth powers of norms between their bounds.

    Attributes:
        dimensions: Σ over dimensions of the norm⁴ of a column, when all rows have norm 1.
        least_dimensions: n² / d, reached by any matrix with equal columns, a collapsed one too.
        most_dimensions: n², reached when all the energy is in one dimension.
        images: Σ over images of the norm⁴ of a row, when all columns have norm 1.
        least_images: d² / n.
        most_images: d².
    """

    dimensions: float
    least_dimensions: float
    most_dimensions: float
    images: float
    least_images: float
    most_images: float


def norm_balance(z: Array) -> NormBalance:
    r"""Return what Table S4 of the duality paper measures, with its bounds.

    With unit rows :math:`n^2 / d \le \sum_k \lVert Z_{\cdot k} \rVert^4 \le n^2`; with unit columns
    :math:`d^2 / n \le \sum_i \lVert Z_{i \cdot} \rVert^4 \le d^2`. Trained networks lie within a
    factor of 3 of the lower bounds, and so does a Gaussian: being near says little, being far says
    that few dimensions, or few images, hold most of the energy.

    Args:
        z: Embeddings [batch, dim], not centred here. n and d count rows and columns that are not
            all 0: those cannot have norm 1.

    Raises:
        ValueError: If `z` has fewer than two rows, is not finite or is all 0.

    Convention: Rows are images: z is the transpose of the paper's K.
    Known points: A matrix with entries ±1 reaches both lower bounds.

    References:
        garrido2023duality, lemma 3.4 and table S4.
    """
    squares = checked(z).double()
    squares = (squares / squares.abs().max().clamp(min=torch.finfo(squares.dtype).tiny)).square()
    squares = squares[squares.any(dim=1)][:, squares.any(dim=0)]
    if not squares.numel():
        raise ValueError("z is 0 everywhere, so no row can have norm 1")
    n, d = squares.shape
    columns = (squares / squares.sum(dim=1, keepdim=True)).sum(dim=0)
    rows = (squares / squares.sum(dim=0)).sum(dim=1)
    return NormBalance(
        dimensions=float(columns.square().sum()),
        least_dimensions=n**2 / d,
        most_dimensions=float(n**2),
        images=float(rows.square().sum()),
        least_images=d**2 / n,
        most_images=float(d**2),
    )
