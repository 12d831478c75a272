"""Dimension-contrastive objectives in explicit loops over images and dimensions."""

import cmath
import math
from itertools import combinations

from torch import Tensor, nn

from coview.objectives import (
    BarlowTwins,
    CodingRate,
    SIGReg,
    VICReg,
    VICRegCtr,
    VICRegExp,
    WhiteningMSE,
)
from reference.rows import dot, resized


def mean_over_pairs(views, function):
    pairs = list(combinations(views, 2))
    return sum(function(first, second) for first, second in pairs) / len(pairs)


def squared_distance(first, second):
    """Mean over images and dimensions."""
    total = sum(
        (x - y) ** 2 for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)
    )
    return total / (len(first) * len(first[0]))


def transposed(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def centred(numbers):
    mean = sum(numbers) / len(numbers)
    return [x - mean for x in numbers]


def hinge(variance, eps):
    return max(0, 1 - math.sqrt(variance + eps))


def log_sum_exp(numbers):
    return math.log(sum(math.exp(x) for x in numbers))


def vicreg(z: Tensor, objective: VICReg, state: nn.Module) -> float:
    """The official code's three terms; two views count as two, more as two on average."""
    views = z.tolist()
    n, dim = len(views[0]), len(views[0][0])
    invariance = mean_over_pairs(views, squared_distance)
    variance = covariance = 0.0
    for view in views:
        dimensions = [centred(column) for column in transposed(view)]
        for k in range(dim):
            for m in range(dim):
                c = dot(dimensions[k], dimensions[m]) / (n - 1)
                if k == m:
                    variance += hinge(c, objective.eps) / dim / 2
                else:
                    covariance += c**2 / dim
    return (
        objective.invariance_weight * invariance
        + objective.variance_weight * variance * 2 / len(views)
        + objective.covariance_weight * covariance * 2 / len(views)
    )


def vicreg_exp(z: Tensor, objective: VICRegExp, state: nn.Module) -> float:
    """Appendix L: covariances of dimensions over images."""
    return variant(z.tolist(), objective, transposed, lambda dimensions: len(dimensions[0]) - 1)


def vicreg_ctr(z: Tensor, objective: VICRegCtr, state: nn.Module) -> float:
    """Appendix L: the same after a transposition."""

    def divisor(rows):
        return len(rows[0]) - 1 if objective.divisor == "dim" else len(rows) - 1

    return variant(z.tolist(), objective, lambda view: view, divisor)


def variant(views, objective, vectors_of, divisor_of):
    variance = repetition = 0.0
    for view in views:
        vectors = [centred(vector) for vector in vectors_of(view)]
        divisor = divisor_of(vectors) * objective.temperature
        for a, vector in enumerate(vectors):
            own = dot(vector, vector) / (len(vector) - 1)
            variance += hinge(own, objective.eps) / len(vectors)
            others = [dot(vector, w) / divisor for b, w in enumerate(vectors) if b != a]
            repetition += log_sum_exp(others) / len(vectors)
    return (
        objective.invariance_weight * mean_over_pairs(views, squared_distance)
        + objective.variance_weight * variance / len(views)
        + objective.covariance_weight * repetition / len(views)
    )


def barlow_twins(z: Tensor, objective: BarlowTwins, state: nn.Module) -> float:
    """Batch norm of each view, then the correlation of each pair of dimensions."""

    def standardised(column):
        column = centred(column)
        deviation = math.sqrt(dot(column, column) / len(column) + objective.eps)
        return [x / deviation for x in column]

    def loss(first, second):
        total = 0.0
        for k, x in enumerate(first):
            for m, y in enumerate(second):
                c = dot(x, y) / len(x)
                total += (1 - c) ** 2 if k == m else objective.redundancy_weight * c**2
        return total

    views = [[standardised(column) for column in transposed(view)] for view in z.tolist()]
    return mean_over_pairs(views, loss)


def cholesky(matrix):
    """The lower factor, by Cholesky's own recursion."""
    factor = [[0.0] * len(matrix) for _ in matrix]
    for i, row in enumerate(matrix):
        for j in range(i + 1):
            rest = row[j] - dot(factor[i][:j], factor[j][:j])
            factor[i][j] = math.sqrt(rest) if i == j else rest / factor[j][j]
    return factor


def coding_rate(z: Tensor, objective: CodingRate, state: nn.Module) -> float:
    """Log-determinant of the dim × dim matrix, by elimination."""
    views = [[resized(row, 1) for row in view] for view in z.tolist()]
    n, dim = len(views[0]), len(views[0][0])
    rate = 0.0
    for view in views:
        columns = transposed(view)
        matrix = [
            [
                float(k == m) + dim / (n * objective.distortion) * dot(x, y)
                for m, y in enumerate(columns)
            ]
            for k, x in enumerate(columns)
        ]
        rate += sum(math.log(row[k]) for k, row in enumerate(cholesky(matrix))) / len(views)

    def cosine(first, second):
        return sum(dot(a, b) for a, b in zip(first, second, strict=True)) / n

    return -objective.invariance_weight * mean_over_pairs(views, cosine) - rate


def whitened(rows, shrinkage):
    """Rows solved forward through the Cholesky factor of their covariance."""
    columns = [centred(column) for column in transposed(rows)]
    n = len(rows)
    factor = cholesky(
        [
            [
                (1 - shrinkage) * dot(x, y) / (n - 1) + shrinkage * (k == m)
                for m, y in enumerate(columns)
            ]
            for k, x in enumerate(columns)
        ]
    )
    solved = []
    for row in transposed(columns):
        result = []
        for k, x in enumerate(row):
            result.append((x - dot(factor[k][:k], result)) / factor[k][k])
        solved.append(result)
    return solved


def whitening_mse(z: Tensor, objective: WhiteningMSE, state: nn.Module) -> float:
    """2 − 2 cos of whitened views, over the sub-batches of each drawn order."""
    views, n = z.tolist(), z.shape[1]
    drawn = objective.orders(state.step, n, z.shape[-1])
    orders = [list(range(n))] if drawn is None else drawn.tolist()
    count = max(1, n // (objective.sub_batch_size or 2 * z.shape[-1]))
    total = 0.0
    for order in orders:
        start = 0
        for part in range(count):
            size = n // count + (part < n % count)
            images = order[start : start + size]
            start += size
            white = [
                [
                    resized(row, 1)
                    for row in whitened([view[i] for i in images], objective.shrinkage)
                ]
                for view in views
            ]
            total += mean_over_pairs(
                white,
                lambda first, second: sum(
                    2 - 2 * dot(a, b) for a, b in zip(first, second, strict=True)
                ),
            )
    return total / (n * len(orders))


def sigreg(z: Tensor, objective: SIGReg, state: nn.Module) -> float:
    """The trapezoidal rule over negative and positive frequencies."""
    views = z.tolist()
    n, dim = len(views[0]), len(views[0][0])
    directions = transposed(state.directions.tolist())
    last = objective.num_knots - 1
    step = objective.largest_frequency / last
    statistic = 0.0
    for view in views:
        for direction in directions:
            shadows = [dot(row, direction) for row in view]
            for k in range(-last, last + 1):
                t, gaussian = k * step, math.exp(-((k * step) ** 2) / 2)
                wave = sum(cmath.exp(1j * t * x) for x in shadows) / n
                height = abs(wave - gaussian) ** 2 * gaussian
                statistic += n * height * step / (2 if abs(k) == last else 1)
    statistic /= len(views) * len(directions)
    invariance = 0.0
    for i in range(n):
        for k in range(dim):
            values = centred([view[i][k] for view in views])
            invariance += dot(values, values) / (len(views) * n * dim)
    weight = objective.regularization_weight
    return (1 - weight) * invariance + weight * statistic


REFERENCES = {
    "vicreg": vicreg,
    "vicreg_exp": vicreg_exp,
    "vicreg_ctr": vicreg_ctr,
    "barlow_twins": barlow_twins,
    "coding_rate": coding_rate,
    "whitening_mse": whitening_mse,
    "sigreg": sigreg,
}
