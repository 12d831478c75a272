"""Every verdict is reached where it must be, and not by what lies beside it."""

import json
import math

import numpy as np
import pytest
import torch

from coview.diagnostics import collapse, diagnose
from coview.random import generator

IMAGES, DIM = 320, 40


def gaussian(*shape, name=""):
    return generator("verdicts", name, *shape).normal(size=shape)


def views_of(h, noise=0.7, views=2):
    """Return noisy views of representations; at 0.7 other images are mostly farther."""
    return h + noise * h.std() * gaussian(views, *h.shape, name="noise")


def points(count, dim=DIM, within=0.05, images=IMAGES):
    centres = gaussian(count, dim, name="centres")
    own = generator("verdicts", "own", count).integers(0, count, images)
    return centres[own] + within * gaussian(images, dim, name="within")


def directions(count, dim=DIM, rest=0.0, images=IMAGES):
    axes = np.linalg.qr(gaussian(dim, dim, name="axes"))[0]
    scale = np.where(np.arange(dim) < count, 1.0, rest)
    return gaussian(images, dim, name="along") * scale @ axes


HEALTHY = {
    "Gaussian": gaussian(IMAGES, DIM),
    "non-negative": np.maximum(gaussian(IMAGES, DIM), 0),
    "far from 0": gaussian(IMAGES, DIM) + 3.0,
    "tiny": 1e-6 * gaussian(IMAGES, DIM),
    "huge": 1e8 * gaussian(IMAGES, DIM),
    "power law": gaussian(IMAGES, DIM) * np.arange(1, DIM + 1) ** -0.5,
    "few directions of many": directions(6),
    "one strong direction": directions(1, rest=0.1) * 3,
    "wide groups": points(10, within=0.5),
    "groups in wide noise": points(10, dim=512, within=0.35),
    "as many points as images": points(200, within=0.0),
    "two dimensions": gaussian(IMAGES, 2),
    "one dimension": gaussian(IMAGES, 1),
    "fewer images than dimensions": gaussian(50, 300),
}

ILL = {
    "full collapse": {
        "equal rows": np.full((IMAGES, DIM), 37.1),
        "zeros": np.zeros((IMAGES, DIM)),
        "near a point": 10 + 0.01 * gaussian(IMAGES, DIM),
        "two images": np.ones((2, 3)),
    },
    "cluster collapse": {
        "2 points": points(2, within=0.01),
        "3 points": points(3),
        "10 points": points(10),
        "10 points of 512 dimensions": points(10, dim=512),
        "30 points": points(30, images=700),
        "exact points": points(5, within=0.0),
        "points on a line": np.outer(np.repeat([0.0, 1.0, 3.0, 7.0], 80), np.ones(DIM)),
    },
    "dimensional collapse": {
        "line": directions(1),
        "line in noise": directions(1, rest=0.01),
        "even line": np.outer(np.linspace(-1, 1, IMAGES), gaussian(DIM)),
        "8 of 512 directions": directions(8, dim=512, images=520),
    },
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy(name):
    found = diagnose(HEALTHY[name])
    assert found.verdict == "healthy", found.sentence
    assert all(check.passed for check in found.checks)
    assert (found.sentence, found.evidence) == ("Healthy: no collapse.", "")
    assert any("strength of the views was not judged" in text for text in found.cautions)


@pytest.mark.parametrize(
    ("verdict", "name"), [(v, name) for v, cases in ILL.items() for name in cases]
)
def test_ill(verdict, name):
    found = diagnose(ILL[verdict][name])
    assert found.verdict == verdict, found.sentence
    assert found.sentence.startswith(verdict.capitalize())
    broken = next(check for check in found.checks if not check.passed)
    bound = "least" if broken.least else "most"
    assert found.evidence == (
        f"{broken.measure}: {broken.value:.3g}, sound at {bound} {broken.limit:.3g}"
    )


@pytest.mark.parametrize("name", HEALTHY)
def test_sound_views_of_healthy_representations_stay_healthy(name):
    h = views_of(HEALTHY[name], noise=0.3 if "dimension" in name else 0.7)
    found = diagnose(h)
    assert found.verdict == "healthy", found.sentence
    assert found.sentence == "Healthy: no collapse, and the views are not too strong."


def test_views_too_strong_are_those_that_say_nothing_of_the_image():
    unrelated = gaussian(2, IMAGES, DIM)
    assert diagnose(unrelated).verdict == "views too strong"
    swapped = np.stack([unrelated[0], np.roll(unrelated[0], 1, axis=0)])
    assert diagnose(swapped).verdict == "views too strong"
    hardly = views_of(gaussian(IMAGES, DIM), noise=8.0)
    assert diagnose(hardly).verdict == "views too strong"
    assert diagnose(views_of(gaussian(IMAGES, DIM), noise=1.5)).verdict == "healthy"


def test_views_too_weak_are_those_matched_before_training():
    h = views_of(gaussian(IMAGES, DIM))
    easy, hard = views_of(gaussian(IMAGES, 9), noise=0.2), views_of(gaussian(IMAGES, 9), noise=2.0)
    assert diagnose(h, before={"pixels": hard}).verdict == "healthy"
    found = diagnose(h, before={"pixels": hard, "an untrained encoder": easy})
    assert found.verdict == "views too weak"
    assert "in an untrained encoder" in found.evidence
    sound = diagnose(h, before={"pixels": hard}).sentence
    assert sound.endswith("the views are neither too weak nor too strong.")


def test_views_that_coincide_are_no_illness_of_the_encoder():
    h = gaussian(IMAGES, DIM)
    assert diagnose(np.stack([h, h])).verdict == "healthy"


def test_a_collapse_comes_before_the_views():
    line = directions(1)
    unrelated = np.stack([line, line[::-1]])
    assert diagnose(unrelated).verdict == "dimensional collapse"
    assert diagnose(np.ones((2, IMAGES, DIM))).verdict == "full collapse"


@pytest.mark.parametrize("name", [n for v in ("full collapse",) for n in ILL[v]])
def test_the_loop_and_the_diagnosis_agree_on_full_collapse(name):
    h = ILL["full collapse"][name]
    assert str(collapse(h).reason).startswith("full collapse")


def test_the_verdict_does_not_depend_on_scale_rotation_or_precision():
    turn = np.linalg.qr(gaussian(DIM, DIM, name="turn"))[0]
    for h in (HEALTHY["Gaussian"], ILL["cluster collapse"]["10 points"], directions(1, rest=0.01)):
        expected = diagnose(h)
        assert diagnose(h) == expected
        other = torch.from_numpy(1e3 * h @ turn).float()
        assert diagnose(other, seed=5).verdict == expected.verdict


def test_the_table_has_every_measure_and_is_plain_json():
    found = diagnose(views_of(gaussian(IMAGES, DIM), views=4))
    assert [measure.name for measure in found.measures] == [
        "RankMe", "effective rank, centred", "stable rank, centred", "alpha-ReQ", "LiDAR",
        "distance of views", "alignment", "uniformity", "standard deviation ratio",
        "intrinsic dimension", "cluster learnability", "norms of dimensions", "norms of images",
    ]  # fmt: skip
    assert (found.images, found.views, found.dim) == (IMAGES, 4, DIM)
    record = json.loads(json.dumps(found.to_record(), allow_nan=False))
    assert record["verdict"] == "healthy"
    assert [check["passed"] for check in record["checks"]] == [True] * 5
    assert record["measures"][4]["name"] == "LiDAR"
    assert 20 < record["measures"][4]["value"] <= DIM


def test_lidar_in_the_table_does_not_depend_on_scale():
    h = views_of(gaussian(IMAGES, 16))
    values = [
        next(m.value for m in diagnose(scale * h).measures if m.name == "LiDAR")
        for scale in (1e-4, 1.0, 1e4)
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_what_cannot_be_measured_is_left_out_and_said():
    few = diagnose(gaussian(10, 30))
    said = " ".join(few.cautions)
    assert "10 images in 30 dimensions: ranks are bounded" in said
    assert "10 images are too few to look for clusters" in said
    for name in ("alpha-ReQ", "intrinsic dimension", "cluster learnability"):
        assert f"No {name}: " in said
        assert name not in {measure.name for measure in few.measures}
    assert all(math.isfinite(measure.value) for measure in few.measures)
    point = diagnose(np.ones((2, IMAGES, DIM)))
    assert "Nothing more can be judged of a full collapse." in point.cautions
    assert all(math.isfinite(measure.value) for measure in point.measures)


def test_copies_in_the_data_are_not_blamed_on_the_encoder():
    own = np.arange(IMAGES) % 12
    pixels = views_of(gaussian(12, 9), noise=2.0)[:, own]
    h = views_of(gaussian(12, DIM))[:, own]
    assert diagnose(h).verdict == "cluster collapse"
    found = diagnose(h, before={"pixels": pixels})
    assert found.verdict == "healthy", found.sentence
    assert found.cautions[0] == "308 of 320 images are copies of another, already in pixels."
    assert any("12 images are too few to look for clusters" in text for text in found.cautions)
    collapsed = diagnose(np.ones_like(h), before={"pixels": pixels})
    assert collapsed.verdict == "full collapse"


def test_constant_images_leave_nothing_to_judge():
    same = np.ones((2, IMAGES, 9))
    found = diagnose(np.ones((2, IMAGES, DIM)), before={"pixels": same})
    assert (found.verdict, found.checks, found.evidence) == ("not judged", (), "")
    assert found.sentence == "Not judged: all images are the same before training."
    assert found.cautions[0].startswith("319 of 320 images are copies")
    assert (found.images, found.views) == (IMAGES, 2)
    json.dumps(found.to_record(), allow_nan=False)


def test_few_images_say_nothing_of_the_views():
    h = views_of(gaussian(19, DIM))
    found = diagnose(h, before={"the same": h})
    assert {check.against for check in found.checks} == {"full collapse", "dimensional collapse"}
    assert "19 images are too few to judge the views (20 are needed)." in found.cautions
    h = views_of(gaussian(20, DIM))
    assert len(diagnose(h, before={"the same": h}).checks) == 5


def test_many_images_are_drawn_from_and_it_is_said():
    many = diagnose(gaussian(2100, 8))
    assert any("2,000 of 2,100 images" in text for text in many.cautions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"h": np.ones((1, 4))}, "batch >= 2"),
        ({"h": np.full((5, 4), np.nan)}, r"rows \[0, 1, 2, 3, 4\]"),
        ({"h": np.ones((2, 1, 4))}, "batch >= 2"),
        ({"h": np.full((2, 5, 4), np.inf)}, "first of images"),
        ({"h": np.ones((0, 5, 4))}, r"got shape \(0, 5, 4\)"),
        ({"h": np.ones((2, 5, 4)), "before": {"x": np.ones((2, 6, 4))}}, r"before: x .*\(2, 6\)"),
        ({"h": np.ones((2, 5, 4)), "before": {"x": np.ones((3, 5, 4))}}, r"before: x .*\(3, 5\)"),
        ({"h": np.ones((5, 4)), "before": {"x": np.ones((1, 5, 4))}}, "two or more"),
    ],
    ids=["one row", "NaN", "one image", "inf views", "no view", "images", "views", "one view"],
)  # fmt: skip
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        diagnose(**arguments)
