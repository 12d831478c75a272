"""Batch norm over two processes with uneven shards is batch norm of the whole batch."""

import copy

import pytest
import torch
from torch import nn

from coview.encoders import SynchronizedBatchNorm, synchronize_batch_norm
from coview.ranks import Ranks, apart
from coview.testing import embeddings, run_ranks

KINDS = {
    "plain": nn.BatchNorm1d(3),
    "maps": nn.BatchNorm2d(3),
    "cumulative": nn.BatchNorm1d(3, momentum=None),
    "no weights": nn.BatchNorm1d(3, affine=False),
    "no statistics": nn.BatchNorm2d(3, track_running_stats=False),
}

SHARDS = {"uneven": (6, 1), "one has none": (7, 0)}


def network(kind):
    layer = copy.deepcopy(KINDS[kind])
    module = nn.Sequential(nn.Identity(), layer).double()
    if layer.affine:
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([0.5, 2.0, -1.0]))
            layer.bias.copy_(torch.tensor([0.1, 0.0, 3.0]))
    return module


def inputs(kind, step=0):
    x = embeddings(7, 12, seed=step)[0] * 3 + 50  # far from 0: the variance must not be rounded off
    return x.reshape(7, 3, 2, 2) if isinstance(KINDS[kind], nn.BatchNorm2d) else x[:, :3]


def trained(kind, shards):
    """Two steps, then evaluation: outputs, gradients, parameters and running statistics."""
    ranks, module = Ranks.current(), network(kind)
    if ranks.size > 1:
        synchronize_batch_norm(module)
        assert isinstance(module[1], SynchronizedBatchNorm)
    found = {}
    for step in range(2):
        x = inputs(kind, step)
        if ranks.size > 1:
            x = x.split(list(shards))[ranks.index]
        x = x.clone().requires_grad_()
        y = module(x)
        total = ranks.sum((y**3).sum().sin())  # each rank the global value, as objectives do
        module.zero_grad()
        total.backward()
        found[f"output {step}"] = ranks.gather(y.detach())
        found[f"input gradient {step}"] = ranks.gather(x.grad) / ranks.size
        for name, parameter in module.named_parameters():
            found[f"{name} gradient {step}"] = ranks.sum(parameter.grad) / ranks.size
    found |= dict(module.state_dict())
    found["evaluation"] = module.eval()(inputs(kind))
    return found


def alone(kind, shards):
    """The same with the two shards' losses in one process and torch's batch norm."""
    module = network(kind)
    found = {}
    for step in range(2):
        x = inputs(kind, step).clone().requires_grad_()
        y = module(x)
        module.zero_grad()
        sum((part**3).sum().sin() for part in y.split(list(shards))).backward()
        found[f"output {step}"] = y.detach()
        found[f"input gradient {step}"] = x.grad
        for name, parameter in module.named_parameters():
            found[f"{name} gradient {step}"] = parameter.grad.clone()
    found |= dict(module.state_dict())
    found["evaluation"] = module.eval()(inputs(kind))
    return found


def local_output():
    """What batch norm without the others makes of the first rank's shard."""
    with torch.no_grad():
        return network("plain")(inputs("plain")[: SHARDS["uneven"][0]])


def all_kinds():
    found = {(kind, name): trained(kind, s) for kind in KINDS for name, s in SHARDS.items()}
    try:
        synced = SynchronizedBatchNorm(nn.BatchNorm1d(3))
        synced(torch.zeros(1 - Ranks.current().index, 3))
    except ValueError as error:
        return found, str(error)
    return found, "one value was accepted"


def test_two_processes_equal_one():
    for found, message in run_ranks(all_kinds, 2):
        assert "more than one value" in message
        for (kind, shards), ours in found.items():
            expected = alone(kind, SHARDS[shards])
            assert ours.keys() == expected.keys()
            for name, value in expected.items():
                close = torch.allclose(ours[name], value, rtol=1e-9, atol=1e-9)
                assert close, f"{kind}, {shards}, {name}: {ours[name]} is not {value}"


def test_the_comparison_would_notice_local_statistics():
    whole = alone("plain", SHARDS["uneven"])["output 0"]
    assert not torch.allclose(whole[:6], local_output(), rtol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_one_process_is_torchs(training):
    module, ours = network("maps").train(training), network("maps").train(training)
    before = {name: value.data_ptr() for name, value in ours.state_dict().items()}
    synchronize_batch_norm(ours)
    assert ours[1].training == training
    assert {name: value.data_ptr() for name, value in ours.state_dict().items()} == before
    assert torch.equal(ours(inputs("maps")), module(inputs("maps")))
    assert all(torch.equal(ours.state_dict()[n], v) for n, v in module.state_dict().items())


def test_inside_apart_a_process_is_alone():
    assert run_ranks(sizes, 2) == [(2, 1, 2), (2, 1, 2)]


def sizes():
    before = Ranks.current().size
    with apart():
        inside = Ranks.current().size
    return before, inside, Ranks.current().size
