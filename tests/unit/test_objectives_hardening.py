"""What a harsh reader broke: arguments by name, bad input named rightly, hard float32 cases."""

import inspect

import pytest
import torch

from coview.objectives import (
    TABLE,
    InfoNCE,
    byol,
    coding_rate,
    coding_rate_terms,
    info_nce,
    supervised_contrastive,
    whitening_mse,
)
from coview.ranks import Ranks
from coview.testing import embeddings
from coview.training.job import check_views
from coview.views import get

Z = embeddings(12, 4)


def arguments(function):
    """Return something for every required argument."""
    z, rows = Z, Z[0]
    known = {
        "z": z,
        "prediction": z,
        "target": z.flip(0),
        "labels": torch.arange(12) % 3,
        "anchor": rows,
        "positive": Z[1],
        "negatives": rows[:5],
        "second_moment": torch.eye(4),
        "directions": torch.eye(4, dtype=z.dtype),
    }
    required = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    return {name: known[name] for name in required}


@pytest.mark.parametrize("name", TABLE)
def test_every_function_takes_its_arguments_by_name(name):
    function = TABLE[name].function
    given = arguments(function)
    by_place = function(*given.values(), ranks=Ranks())
    torch.testing.assert_close(function(**given, ranks=Ranks()), by_place, rtol=0, atol=0)
    with pytest.raises(TypeError):
        function(ranks=Ranks())


@pytest.mark.parametrize("distortion", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("spread", [0.0, 1e-4, 1.0])
def test_coding_rate_in_float32_at_small_distortion(distortion, spread):
    z = embeddings(1, 48)[:1, :1] + spread * embeddings(256, 48)
    z = z.float()
    narrow, wide = (
        coding_rate_terms(x, distortion=distortion, ranks=Ranks()).expansion
        for x in (z, z.double())
    )
    assert narrow.dtype == torch.float32
    assert narrow.item() == pytest.approx(wide.item(), rel=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(Z[0, 0], Z[0, 0], Z[0]), r"anchor must be \[batch dim\]"),
        (lambda: info_nce(Z, Z, Z), r"anchor must be \[batch dim\]"),
        (lambda: info_nce(Z[0].long(), Z[0], Z[0]), "anchor must hold floating"),
        (lambda: info_nce(Z[0], Z[0].long(), Z[0]), "positive must hold floating"),
        (lambda: info_nce(Z[0], Z[0], Z[0].long()), "negatives must hold floating"),
        (lambda: byol(Z, Z.long()), "target must hold floating"),
        (lambda: coding_rate(Z[..., :0]), "z must have a width of at least 1"),
        (lambda: supervised_contrastive(Z, torch.zeros(12)), "labels must have one whole number"),
        (lambda: InfoNCE(memory=0), "memory must be a whole number"),
    ],
)
def test_bad_input_is_named(call, message):
    # the hook that checks types in tests may see a wrong one before we do
    with pytest.raises((ValueError, TypeError), match=f"{message}|Type-check error"):
        call()


def test_a_nan_is_not_mistaken_for_a_degenerate_batch():
    z = Z.clone()
    z[0, 3, 1] = torch.nan
    assert not whitening_mse(z, ranks=Ranks()).isfinite()


def test_rows_below_the_normal_range_have_finite_gradients():
    for name in ("nt_xent", "coding_rate", "spectral_contrastive", "byol"):
        function = TABLE[name].function
        given = arguments(function)
        first = next(iter(given))
        leaf = (embeddings(12, 4).float() * 1e-39).requires_grad_()
        given[first] = leaf
        if "target" in given:
            given["target"] = given["target"].float()
        (gradient,) = torch.autograd.grad(function(**given, ranks=Ranks()), leaf)
        assert gradient.isfinite().all(), name


def test_policies_of_several_sizes_are_refused_early():
    with pytest.raises(ValueError, match="takes views of one size so far"):
        check_views(get("multicrop"), TABLE["nt_xent"].config())
