"""What a harsh reader broke: arguments by name, bad input named rightly, hard float32 cases."""

import dataclasses
import inspect
import math
import warnings
from contextlib import contextmanager
from typing import get_args

import jaxtyping
import pytest
import torch

from coview.objectives import (
    FMICL,
    MINC,
    TABLE,
    InfoNCE,
    Interpolation,
    NTXent,
    byol,
    coding_rate,
    coding_rate_terms,
    f_micl,
    info_nce,
    supervised_contrastive,
    whitening_mse,
)
from coview.objectives.f_micl import Divergence
from coview.objectives.inputs import check_count, check_positive, check_range
from coview.ranks import Ranks
from coview.testing import embeddings
from coview.training.job import check_views, find_objective
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


@contextmanager
def as_users_have_it():
    """Without the hook that checks types in tests."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: NTXent(temperature="abc"),
            "temperature must be a finite number above 0; got 'abc'",
        ),
        (lambda: check_positive("rate", None), "rate must be a finite number above 0; got None"),
        (lambda: check_range("share", "0.5", 0, 1), "share must be .* from 0 to 1; got '0.5'"),
        (lambda: check_range("weight", [1.0], 0), r"weight must be .* at least 0; got \[1.0\]"),
        (lambda: check_count("memory", "8", 1), "memory must be a whole number, .*; got '8'"),
    ],
)
def test_what_is_no_number_is_named(call, message):
    with as_users_have_it(), pytest.raises(ValueError, match=message):
        call()


FLAGS = [
    (config, field.name)
    for config in (Interpolation, *(spec.config for spec in TABLE.values()))
    for field in dataclasses.fields(config)
    if isinstance(field.default, bool)
]


@pytest.mark.parametrize(("config", "name"), FLAGS, ids=lambda x: getattr(x, "__name__", x))
@pytest.mark.parametrize("word", ["no", 0])
def test_a_word_for_true_or_false_is_refused(config, name, word):
    with (
        as_users_have_it(),
        pytest.raises(ValueError, match=f"{name} must be true or false; got {word!r}"),
    ):
        config(**{name: word})


def test_the_command_line_refuses_a_word_for_true_or_false():
    assert find_objective("minc:carried=false") == MINC(carried=False)
    with as_users_have_it(), pytest.raises(ValueError, match="true or false; got 'no'"):
        find_objective("minc:carried=no")


def value_and_gradient(z, **settings):
    leaf = z.clone().requires_grad_()
    value = whitening_mse(leaf, ranks=Ranks(), **settings)
    return value.item(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("size", [1e-42, 1e-37, 1e-30, 1e-20, 1.0, 1e18, 1e37])
@pytest.mark.parametrize("sub_batch_size", [None, 6])
def test_whitening_of_embeddings_of_any_size(size, sub_batch_size):
    z = (embeddings(12, 4) * torch.tensor([1, size])[:, None, None]).float()
    value, gradient = value_and_gradient(z, sub_batch_size=sub_batch_size)
    expected, slope = value_and_gradient(z.double(), sub_batch_size=sub_batch_size)
    assert value == pytest.approx(expected, rel=1e-5)
    largest = torch.finfo(torch.float32).max
    assert gradient.isfinite().all()
    if slope.abs().max() < largest / 1e3:
        torch.testing.assert_close(gradient.double(), slope, rtol=1e-3, atol=1e-4 / size)


STEEP = {"reverse_kl": 0.164, "neyman": 0.231, "jeffrey": 0.164, "squared_hellinger": 0.116}


@pytest.mark.parametrize("name", get_args(Divergence))
def test_scores_of_opposite_views_fit_float32_or_sigma_is_refused(name):
    first = embeddings(64, 4)[0].float()
    leaf = torch.stack([first, -first]).requires_grad_()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*collapses")
        value = f_micl(leaf, divergence=name, sigma=STEEP.get(name, 0.05), order=1.5)
        (gradient,) = torch.autograd.grad(value, leaf)
        assert value.isfinite()
        assert gradient.isfinite().all()
        if name not in STEEP:
            return
        for call in (lambda **x: f_micl(Z, **x), FMICL):
            with pytest.raises(ValueError, match=f"sigma must be at least 0.*{name}.*got 0.05"):
                call(divergence=name, sigma=0.05)


def test_the_limit_of_sigma_follows_the_order_of_tsallis():
    with pytest.raises(ValueError, match=r"at least 0\.115 with divergence 'tsallis'"):
        FMICL(divergence="tsallis", order=0.5, sigma=0.11)
    assert FMICL(divergence="tsallis", order=1.5, sigma=0.01).sigma == 0.01


@pytest.mark.parametrize("name", ["vicreg_exp", "vicreg_ctr", "sigreg"])
@pytest.mark.parametrize(("images", "dim"), [(12, 4), (8, 512)])
def test_the_stated_limit_of_size_holds_in_float32(name, images, dim):
    z = embeddings(images, dim)
    size = 1e19 / math.sqrt(images * dim) / z.abs().max()
    leaf = (z * size).float().requires_grad_()
    objective = TABLE[name].config()
    total = objective(leaf, objective.init(dim), ranks=Ranks()).total
    assert total.isfinite()
    assert torch.autograd.grad(total, leaf)[0].isfinite().all()


def test_policies_of_several_sizes_are_refused_early():
    with pytest.raises(ValueError, match="takes views of one size so far"):
        check_views(get("multicrop"), TABLE["nt_xent"].config())
