"""The game: who pushes where, and a problem whose answer is known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from colour_problem import flat_colours
from coview.data import Batch
from coview.search.learn_game import (
    Failed,
    GameStep,
    Players,
    Turn,
    bound,
    pair_of,
    sources,
)
from coview.search.learn_watch import failures, information, one_sided, verdict
from coview.training.loop import State
from coview.training.randomness import isolated
from coview.views.generators import Perturbation, PixelFlow


def batch_of(dataset, n=64):
    return Batch(
        images=dataset.fetch(np.arange(n)),
        index=torch.arange(n),
        labels=torch.from_numpy(dataset.labels[:n]),
        step=0,
        epoch=0,
    )


def players_of(maker, *, classes=0, contrast=True, channels=(1, 2), size=8):
    with isolated(0, "test players"):
        return Players(maker, channels=channels, size=size, classes=classes, contrast=contrast)


def value_of(players, turn, name="information"):
    step = GameStep(players, state=State({}), steps=10, learning_rate=1e-3, seed=0)
    with torch.no_grad():
        return float(step.terms(turn)[name])


def stepped(players, turn, *, learning_rate=1e-3, player_rate=2e-3, steps=4):
    state = State({})
    step = GameStep(
        players,
        state=state,
        steps=steps,
        learning_rate=learning_rate,
        player_rate=player_rate,
        seed=0,
    )
    for _ in range(steps):
        seen = step(turn)
        state.step += 1
    return seen


@pytest.mark.parametrize("kind", ["flow", "perturbation"])
def test_encoders_raise_what_the_generator_lowers(kind):
    turn = Turn(batch=batch_of(flat_colours(200)))
    with isolated(1, "maker"):
        maker = PixelFlow("RGB:0|12") if kind == "flow" else Perturbation(3, budget=0.2)
    players = players_of(maker, channels=(1, 2) if kind == "flow" else (3, 3))
    start = value_of(players, turn)
    kept = [p.clone() for p in maker.parameters()]
    stepped(players, turn, learning_rate=1e-12, steps=12)
    raised = value_of(players, turn)
    assert raised > start + 0.1
    assert all(
        torch.allclose(a, b, atol=1e-6) for a, b in zip(kept, maker.parameters(), strict=True)
    )
    kept = [p.clone() for p in players.encoders.parameters()]
    stepped(players, turn, learning_rate=3e-3, player_rate=1e-12, steps=12)
    assert value_of(players, turn) < raised - 0.05
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(kept, players.encoders.parameters(), strict=True)
    )


def test_classifiers_and_generator_both_go_down():
    batch = batch_of(flat_colours(200))
    turn = Turn(batch=batch, labelled=batch)
    for rates in ({"learning_rate": 1e-12}, {"player_rate": 1e-12, "learning_rate": 3e-3}):
        players = players_of(PixelFlow("RGB:0|12"), classes=2, contrast=False)
        before = sum(value_of(players, turn, name) for name in ("first view", "second view"))
        stepped(players, turn, steps=12, **rates)
        after = sum(value_of(players, turn, name) for name in ("first view", "second view"))
        assert after < before


def test_a_frozen_generator_does_not_move():
    maker = PixelFlow("RGB:0|12").requires_grad_(False)
    kept = [p.clone() for p in maker.parameters()]
    players = players_of(maker)
    stepped(players, Turn(batch=batch_of(flat_colours(200))))
    assert all(torch.equal(a, b) for a, b in zip(kept, maker.parameters(), strict=True))


def test_values_that_are_not_finite_end_the_game_and_change_nothing():
    players = players_of(PixelFlow("RGB:0|12"))
    with torch.no_grad():
        players.maker.couplings[0].hidden.weight.fill_(math.inf)
    kept = [p.clone() for p in players.encoders.parameters()]
    with pytest.raises(Failed, match="not finite") as caught:
        stepped(players, Turn(batch=batch_of(flat_colours(200))))
    assert caught.value.name == "divergence"
    assert all(torch.equal(a, b) for a, b in zip(kept, players.encoders.parameters(), strict=True))


def test_the_bound_is_that_of_both_directions():
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = 0.0
    for i in range(5):
        for line in (scores[i], scores[:, i]):
            total += float(scores[i, i]) - math.log(sum(math.exp(float(s)) for s in line) / 5)
    assert float(bound(scores)) == pytest.approx(total / 10, abs=1e-12)


def test_views_of_two_crops_are_left_alone_without_a_generator():
    images = flat_colours(10).fetch(np.arange(10))
    seen = sources(nn.Identity(), images, index=np.arange(10), seed=0, epoch=0)
    first, second = pair_of(nn.Identity(), seen)
    assert torch.equal(first, seen.views[0])
    assert torch.equal(second, seen.views[1])


def test_information_of_embeddings_is_capped_and_says_so():
    z = torch.randn(2100, 32, generator=torch.Generator().manual_seed(0))
    found = information((z, z))
    assert found.ceiling == pytest.approx(math.log(1050))
    assert found.n == 2100
    assert any("saturated" in warning for warning in found.warnings)


ROW = {"spread": [0.2, 0.2], "n": 400, "knn": [0.6, 0.5]}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, None),
        ({"spread": [1e-5, 0.2]}, "collapse"),
        ({"spread": [0.2, 1e4]}, "divergence"),
        ({"spread": [math.nan, 0.2]}, "divergence"),
        ({"information": {"value": 0.01, "ceiling": 6.9, "ceiling_name": ""}}, None),
        (
            {
                "information": {"value": 0.01, "ceiling": 6.9, "ceiling_name": ""},
                "knn": [0.1, 0.11],
            },
            "collapse",
        ),
        ({"information": {"value": 6.5, "ceiling": 6.9, "ceiling_name": "log"}}, "saturation"),
        ({"knn": [0.1, 0.5]}, "one-sided"),
        ({"knn": [0.1, 0.13]}, None),
        ({"knn": [0.1, 0.5], "classifiers": [0.4, 0.5]}, None),
    ],
    ids=str,
)
def test_failures_have_names(change, name):
    found = failures(ROW | change, classes=10)
    assert [failure.name for failure in found] == ([] if name is None else [name])


def test_the_weak_view_is_named():
    assert "from the first view" in one_sided([0.1, 0.5], chance=0.1, error=0.01).message
    assert "from the second view" in one_sided([0.5, 0.1], chance=0.1, error=0.01).message


def record_of(raw, learned, accuracies=None, *, error=0.05, warnings=(), sure=True, ceiling=7.0):
    def estimate(value):
        known = {"standard_error": error, "warnings": list(warnings)}
        return {"value": value, "ceiling": ceiling, **known}

    encoders = {"raw": {}, "learned": {}}
    if accuracies is not None:
        for name, value in zip(encoders, accuracies, strict=True):
            known = {"n": 50, "standard_error": error / 5 if sure else None}
            encoders[name] = {"accuracy": {"test": value, **known}}
    rows = [{"raw": estimate(a), "learned": estimate(b)} for a, b in zip(raw, learned, strict=True)]
    return {"critics": rows, "encoders": encoders}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (record_of([2, 3], [1, 1]), "the learned views share less"),
        (record_of([2, 3], [3, 4]), "the learned views share more"),
        (record_of([2, 3], [3, 1]), "contradict each other"),
        (record_of([2, 3], [2, 1]), "not every fresh critic"),
        (record_of([2, 3], [2, 3]), "no less is shared"),
        (record_of([2], [1], (0.5, 0.4)), "share less, and lose part of the labels"),
        (record_of([2], [1], (0.5, 0.6)), "share less, and serve the labels better"),
        (record_of([2], [1], (0.5, 0.51)), "read as well as before"),
        (record_of([2, 3], [2, 3], error=0.3), "whether less is shared cannot be told"),
        (record_of([2], [2], warnings=["saturated: ..."]), "be told, at the ceiling"),
        (record_of([2], [2], warnings=["saturated: ..."], ceiling=None), "no less is shared"),
        (record_of([2], [1], (0.5, 0.48), error=0.1), "as well cannot be told"),
        (record_of([2], [1], (0.5, 0.7), sure=False), "as well cannot be told"),
    ],
    ids=str,
)
def test_verdicts(record, words):
    assert words in verdict(record)["word"]
