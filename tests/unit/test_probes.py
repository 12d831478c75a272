import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from coview.probes import knn_predict, linear, linear_probe
from coview.probes.knn import vote
from coview.random import generator


def blobs(rows, dim, classes, *, spread=1.0, name="blobs"):
    rng = generator(name, rows, dim, classes)
    y = rng.permutation(np.arange(rows) % classes)
    centres = generator("centres", dim, classes).normal(size=(classes, dim))
    return centres[y] + spread * rng.normal(size=(rows, dim)), y


def naive_knn(train_h, train_y, test_h, k, temperature, classes):
    predicted = []
    for row in test_h:
        cosines = [
            sum(a * b for a, b in zip(row, other, strict=True))
            / math.sqrt(sum(a * a for a in row) * sum(b * b for b in other))
            for other in train_h
        ]
        order = sorted(range(len(train_h)), key=lambda i: -cosines[i])[:k]
        votes = [0.0] * classes
        for i in order:
            votes[train_y[i]] += math.exp(cosines[i] / temperature)
        predicted.append(votes.index(max(votes)))
    return predicted


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (7, 0.07), (20, 0.5), (500, 0.1)])
def test_knn_equals_a_loop(k, temperature):
    train_h, train_y = blobs(60, 5, 4, spread=2.0)
    test_h, _ = blobs(33, 5, 4, spread=2.0, name="test")
    found = knn_predict(train_h, train_y, test_h, k=k, temperature=temperature, classes=4, chunk=10)
    assert found.tolist() == naive_knn(train_h, train_y, test_h, k, temperature, 4)


def test_knn_votes_are_weighted_not_counted():
    train_h = np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    assert knn_predict(train_h, np.array([1, 0, 0]), np.array([[1.0, 0.05]]), k=3, classes=2) == 1


def test_knn_ties_between_classes_go_to_the_lowest_number():
    train_h = np.array([[1.0, 0.0], [1.0, 0.0]])
    found = knn_predict(train_h, np.array([2, 1]), np.array([[1.0, 1.0]]), k=2, classes=3)
    assert found.tolist() == [1]


def test_votes_for_a_grid_of_k_equal_separate_votes():
    rng = generator("grid")
    similarities = torch.from_numpy(rng.uniform(-1, 1, size=(25, 40)))
    y = torch.from_numpy(rng.integers(0, 5, 40))
    grid = [9, 1, 40, 3, 100]
    together = vote(similarities, y, ks=grid, temperature=0.07, classes=5)
    for k, found in zip(grid, together, strict=True):
        alone = vote(similarities, y, ks=[k], temperature=0.07, classes=5)[0]
        assert torch.equal(found, alone)


def test_knn_survives_a_tiny_temperature():
    train_h, train_y = blobs(20, 4, 2)
    assert knn_predict(
        train_h, train_y, train_h, k=5, temperature=1e-6, classes=2
    ).tolist() == list(train_y)


@pytest.mark.parametrize(("rows", "dim"), [(200, 12), (40, 90)])
@pytest.mark.parametrize("classes", [2, 4])
def test_linear_probe_equals_scikit_learn_on_standardised_rows(rows, dim, classes):
    h, y = blobs(rows, dim, classes, spread=2.0)
    other, _ = blobs(50, dim, classes, spread=2.0, name="test")
    h[:, 0] = 3.0  # a constant coordinate
    strength = 5.0
    standard = (h - h.mean(0)) / np.where(h.std(0) > 0, h.std(0), 1)
    model = LogisticRegression(C=strength / dim, tol=1e-10, max_iter=5000).fit(standard, y)
    probe = linear_probe(h, y, classes=classes, strengths=[strength])
    expected = model.decision_function((other - h.mean(0)) / np.where(h.std(0) > 0, h.std(0), 1))
    found = probe.logits(other)
    if classes == 2:
        found, expected = found[:, 1:] - found[:, :1], expected[:, None]
    found, expected = (
        a - a.mean(1, keepdims=True) if classes > 2 else a for a in (found, expected)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_that_repeat_each_other_do_not_slow_the_probe(dtype, monkeypatch):
    """A condition number of 1e6 and weak regularisation: what raw pixels are like."""
    rng = generator("spectrum")
    h, y = blobs(400, 30, 3, spread=3.0)
    h = h @ (rng.normal(size=(30, 30)) * np.logspace(0, -3, 30))
    calls = []
    minimize = linear.minimize

    def counted(function, *args, **kwargs):
        result = minimize(function, *args, **kwargs)
        calls.append(result.nfev)
        return result

    monkeypatch.setattr(linear, "minimize", counted)
    probe = linear_probe(h.astype(dtype), y, classes=3, strengths=[1000.0])
    standard = (h - h.mean(0)) / h.std(0)
    model = LogisticRegression(C=1000 / 30, tol=1e-10, max_iter=20000).fit(standard, y)
    agree = probe.predict(h.astype(dtype)) == model.predict(standard)
    assert agree.mean() >= (0.995 if dtype == np.float32 else 1.0)
    assert max(calls) < 60


def test_linear_probe_chooses_on_the_validation_split():
    mix = generator("mix").normal(size=(30, 30)) + 2.0  # correlated: a strong penalty underfits
    h, y = blobs(300, 30, 4, spread=2.0)
    validation_h, validation_y = blobs(300, 30, 4, spread=2.0, name="validation")
    h, validation_h = h @ mix, validation_h @ mix
    grid = (1e-4, 1.0, 1e4)
    scores = [
        (linear_probe(h, y, classes=4, strengths=[s]).predict(validation_h) == validation_y).mean()
        for s in grid
    ]
    probe = linear_probe(h, y, classes=4, strengths=grid, validation=(validation_h, validation_y))
    assert len(set(scores)) == 3
    assert probe.strength == grid[int(np.argmax(scores))]
    assert probe.strength != grid[0]


def test_classes_that_do_not_occur_are_never_predicted():
    h, y = blobs(60, 6, 3)
    probe = linear_probe(h.astype(np.float32), y * 2, classes=6, strengths=[10.0])
    assert set(probe.predict(h.astype(np.float32))) == {0, 2, 4}


def test_bad_arguments_are_named():
    h, y = blobs(20, 3, 2)
    with pytest.raises(ValueError, match="k >= 1"):
        knn_predict(h, y, h, k=0, classes=2)
    with pytest.raises(ValueError, match="19 labels for 20"):
        knn_predict(h, y[:-1], h, classes=2)
    with pytest.raises(ValueError, match="must be in 0 to 0"):
        knn_predict(h, y, h, classes=1)
    with pytest.raises(ValueError, match="only class 1"):
        linear_probe(h, np.ones_like(y), classes=2, strengths=[1.0])
    with pytest.raises(ValueError, match="validation is needed"):
        linear_probe(h, y, classes=2)
    with pytest.raises(ValueError, match="rising"):
        linear_probe(h, y, classes=2, strengths=[1.0, 0.1])
