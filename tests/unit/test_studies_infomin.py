"""What the study of the recipes says of its trials."""

import pytest

from coview.studies.infomin_recipes import INFOMIN_RECIPES, RECIPES
from coview.studies.study import Trial


def done(moco, mocov2, infomin):
    found = dict(zip(RECIPES, (moco, mocov2, infomin), strict=True))
    return [
        Trial(
            settings={"recipe": recipe, "seed": seed, "images": 1},
            measured={"validation": 0.0, "test": accuracy},
            seconds=1.0,
        )
        for recipe, accuracies in found.items()
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("infomin", "word"),
    [
        ((0.61, 0.60, 0.62), "supported"),
        ((0.50, 0.49, 0.51), "not supported"),
        ((0.40, 0.80, 0.55), "undecided at this budget"),
    ],
)
def test_the_order_is_judged_by_paired_intervals(infomin, word):
    report = INFOMIN_RECIPES.report(done((0.50, 0.49, 0.51), (0.60, 0.59, 0.61), infomin))
    assert report.verdict.word == word
    assert "mocov2 over moco: +10.0 points [+10.0, +10.0]" in report.verdict.why


def test_seeds_that_are_not_finished_leave_it_undecided():
    report = INFOMIN_RECIPES.report(done((0.5, 0.5, 0.5), (0.6, 0.6), ()))
    assert report.verdict.word == "undecided at this budget"
    assert [row[0] for row in report.tables[0].rows] == [
        "moco",
        "mocov2",
        "mocov2 over moco, paired",
    ]


def test_all_recipes_have_the_same_seeds_and_images():
    trials = INFOMIN_RECIPES.trials("laptop")
    assert len(trials) == 9
    assert {(t["seed"], t["images"]) for t in trials} == {(s, 64_000) for s in range(3)}
