"""Rows of numbers as Python lists."""

import math


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def resized(row, norm):
    length = math.sqrt(dot(row, row))
    return [x * norm / length for x in row]


def placed(z, objective):
    radius = math.sqrt(objective.scale)

    def place(row):
        too_long = math.sqrt(dot(row, row)) > radius
        if objective.normalization == "sphere" or (objective.normalization == "ball" and too_long):
            return resized(row, radius)
        return row

    return [[place(row) for row in view] for view in z.tolist()]
