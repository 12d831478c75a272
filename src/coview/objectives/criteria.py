r"""The two criteria of the duality, of one matrix of embeddings.

Rows are images, columns are dimensions: Z is the transpose of the paper's K. For any Z

.. math:: L_{nc} - L_c = \sum_i \|Z_{i\cdot}\|^4 - \sum_k \|Z_{\cdot k}\|^4

since both criteria with their diagonals are ‖ZᵀZ‖² = ‖ZZᵀ‖². Nothing is centred or divided here.

References:
    garrido2023duality, definition 3.2 and theorem 3.3.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from coview.objectives.inputs import check_count, check_positive, check_range, full_precision
from coview.objectives.moments import zero_diagonal
from coview.typing import Scalar

Matrix = Float[Tensor, "batch dim"]


@full_precision
def sample_contrastive_criterion(z: Matrix) -> Scalar:
    r"""Return L_c, the sum of squared inner products of different rows.

    .. math:: L_c = \sum_{i \neq j} (Z_{i\cdot} \cdot Z_{j\cdot})^2

    Args:
        z: Embeddings of one view; both ordered pairs count.

    Numerics: Taken on the smaller side, time O(n dim min(n, dim)). With fewer dimensions than
        images it is L_nc less `duality_gap`: exact up to rounding of L_nc and the norms.
    """
    images, dim = _checked_shape(z)
    if images <= dim:
        return _squares_between_rows(z)
    return _squares_between_rows(z.T) - duality_gap(z)


@full_precision
def dimension_contrastive_criterion(z: Matrix) -> Scalar:
    r"""Return L_nc, the sum of squared inner products of different columns.

    .. math:: L_{nc} = \sum_{k \neq l} (Z_{\cdot k} \cdot Z_{\cdot l})^2

    Args:
        z: Embeddings of one view; both ordered pairs count. Centred, this over (n − 1)² is the sum
            of squared covariances.

    Numerics: Taken on the smaller side, time O(n dim min(n, dim)). With fewer images than
        dimensions it is L_c plus `duality_gap`: exact up to rounding of L_c and the norms.
    """
    images, dim = _checked_shape(z)
    if dim <= images:
        return _squares_between_rows(z.T)
    return _squares_between_rows(z) + duality_gap(z)


@full_precision
def duality_gap(z: Matrix) -> Scalar:
    r"""Return L_nc − L_c, from norms alone.

    .. math:: \sum_i \|Z_{i\cdot}\|^4 - \sum_k \|Z_{\cdot k}\|^4

    Args:
        z: Embeddings of one view.

    Known points: n b⁴ − dim a⁴ with rows of norm b and columns of norm a; 0 if moreover n = dim.
    Numerics: Row and column norms are each taken about their mean, ‖Z‖² over n and over dim, so
        that equal ones cancel exactly. Time O(n dim).
    """
    images, dim = _checked_shape(z)
    squares = z.square()
    rows, columns = squares.sum(1), squares.sum(0)
    mean_row, mean_column = rows.mean(), columns.mean()
    spread = (rows - mean_row).square().sum() - (columns - mean_column).square().sum()
    return spread + rows.sum().square() * ((dim - images) / (images * dim))


def _checked_shape(z: Tensor) -> tuple[int, int]:
    if z.ndim != 2 or z.numel() == 0:
        raise ValueError(f"z must be [batch dim] and not empty; got shape {tuple(z.shape)}")
    return z.shape[0], z.shape[1]


def _squares_between_rows(z: Tensor) -> Tensor:
    return zero_diagonal(z @ z.T).square().sum()


@full_precision
def doubly_normalized(
    z: Matrix, *, row_norm: float = 1.0, iterations: int = 1000, tolerance: float | None = None
) -> Matrix:
    """Rescale rows and columns until all rows have one norm and all columns another.

    Rows get norm b = `row_norm` and columns a = b √(n / dim): ‖Z‖² = n b² = dim a² leaves no other
    choice. On such matrices the two criteria differ by a constant.

    Args:
        z: Embeddings of one view.
        row_norm: b.
        iterations: Most rounds of rescaling all columns, then all rows.
        tolerance: Largest relative error of a column norm at which to stop; None for 32 times the
            precision of the numbers. Row norms are exact.

    Returns:
        R Z C with positive diagonal R and C; the gradient goes through all rounds.

    Raises:
        ValueError: If a row or column is zero or not finite, the tolerance is not reached (zeros
            may make it impossible), or a number is out of range.

    References:
        garrido2023duality, section 3.3; sinkhorn1967, on squared entries.
    """
    images, dim = _checked_shape(z)
    check_positive("row_norm", row_norm)
    check_count("iterations", iterations, 1)
    precision = torch.finfo(z.dtype).eps
    tolerance = 32 * precision if tolerance is None else tolerance
    check_range("tolerance", tolerance, precision)
    z = _scaled_to_one(z)
    for axis, name in ((1, "rows"), (0, "columns")):
        norms = torch.linalg.vector_norm(z.detach(), dim=axis)
        bad = torch.nonzero(~((norms > 0) & norms.isfinite()))[:, 0]
        if len(bad):
            raise ValueError(f"z has {name} that are zero or not finite: {bad[:8].tolist()}")
    column_norm = row_norm * math.sqrt(images / dim)
    for _ in range(iterations):
        z = _rescaled(_rescaled(z, 0, column_norm), 1, row_norm)
        error = (torch.linalg.vector_norm(z.detach(), dim=0) / column_norm - 1).abs().max()
        if error <= tolerance:
            return z
    raise ValueError(
        f"z has column norms off by {error.item():.2g} after {iterations} iterations, above the "
        f"tolerance of {tolerance:.2g}; its zeros may forbid equal norms"
    )


def _scaled_to_one(z: Tensor) -> Tensor:
    largest = z.detach().abs().max()
    return z / torch.where((largest > 0) & largest.isfinite(), largest, 1)


def _rescaled(z: Tensor, axis: int, norm: float) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(z, dim=axis, keepdim=True)
    return z * (norm / norms)
