"""How alike two representations of the same images are."""

import math
import warnings

from torch import Tensor

from coview.diagnostics.spectrum import AnyArray, checked

_LEAST = 4


def linear_cka(a: AnyArray, b: AnyArray, *, debiased: bool = True) -> float:
    r"""Return the centred kernel alignment of two representations with linear kernels.

    .. math:: \frac{\lVert A^T B \rVert_F^2}{\lVert A^T A \rVert_F \lVert B^T B \rVert_F}

    of centred A and B; `debiased` replaces the three by unbiased estimates of HSIC.

    Args:
        a: Representations [batch, dim].
        b: Others of the same images, of any width.
        debiased: Remove the bias, which lifts the plain value towards 1 as dimensions near the
            number of images. The plain one is what papers print (garrido2023duality, figure S2).

    Returns:
        1 for representations that differ by rotation and scale; 0 for independent ones, where the
        debiased value may be a little below 0.

    Raises:
        ValueError: If rows are unpaired, fewer than 4 or not finite, or all the same.

    Warns:
        RuntimeWarning: If the plain value is asked of no more rows than dimensions.

    Numerics: float64, on the smaller side: products of dim × dim or of batch × batch.
    Invariances: Translations, orthogonal changes of basis and scaling, of either side.

    References:
        kornblith2019cka, eq. 4 and its feature form; song2012feature, eq. 5, for the unbiased
        estimate.
    """
    x, y = checked(a).double(), checked(b).double()
    if len(x) != len(y) or len(x) < _LEAST:
        raise ValueError(
            f"a and b must be at least {_LEAST} rows of the same images, got {len(x)} and {len(y)}"
        )
    dim = max(x.shape[1], y.shape[1])
    if not debiased and len(x) <= dim:
        warnings.warn(
            f"CKA of {len(x)} rows in {dim} dimensions is biased towards 1: take the debiased one",
            RuntimeWarning,
            stacklevel=2,
        )
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    cross, own = _hsic(x, y, debiased), (_hsic(x, x, debiased), _hsic(y, y, debiased))
    for name, value, rows in (("a", own[0], checked(a)), ("b", own[1], checked(b))):
        if not value > 1e-24 * float(rows.double().square().sum()) ** 2:
            raise ValueError(
                f"{name} {tuple(rows.shape)} is constant, or too few rows to tell what they share"
            )
    return cross / math.sqrt(own[0] * own[1])


def _hsic(x: Tensor, y: Tensor, debiased: bool) -> float:
    """Return HSIC of centred rows, up to a factor that depends on their number alone."""
    n = len(x)
    if max(x.shape[1], y.shape[1]) <= n:
        value = float((x.T @ y).square().sum())
    else:
        value = float(((x @ x.T) * (y @ y.T)).sum())
    if debiased:
        p, q = x.square().sum(dim=1), y.square().sum(dim=1)
        value += float(p.sum() * q.sum()) / ((n - 1) * (n - 2)) - float(p @ q) * n / (n - 2)
    return value
