"""The harness fails when a worker dies, hangs or leaves nothing."""

import itertools
import multiprocessing
import os
import signal
import time
from multiprocessing.util import Finalize

import pytest
import torch
import torch.distributed as dist

from coview.ranks import Ranks
from coview.testing import run_ranks


def one_raises(culprit):
    """The other rank waits for it in a collective."""
    if dist.get_rank() == culprit:
        raise RuntimeError("out of order")
    dist.barrier()


def gradients():
    return {replicated: gradients_of(replicated) for replicated in (False, True)}


def gradients_of(replicated):
    """Value and gradient of a function of gathered and of summed rows."""
    ranks = Ranks.current()
    x = torch.arange(6.0).reshape(3, 2).split([2, 1])[ranks.index].requires_grad_()
    factor = 1.0 if replicated else 1.0 + ranks.index
    gathered = ranks.gather(x, replicated=replicated)
    (gathered.square() * factor).sum().backward()
    by_gather, x.grad = x.grad, None
    total = ranks.sum(x.sum(0), replicated=replicated)
    (total.square() * factor).sum().backward()
    return {
        "place": (ranks.index, ranks.size, torch.get_num_threads()),
        "counts": ranks.counts(x),
        "gathered": gathered.detach(),
        "gather gradient": by_gather,
        "total": total.detach(),
        "sum gradient": x.grad,
        "labels": ranks.gather(torch.full((ranks.index,), 7)),
    }


def test_ranks_gather_and_sum_with_gradients():
    rows = torch.arange(6.0).reshape(3, 2)
    results = run_ranks(gradients, 2)
    for rank, replicated in itertools.product((0, 1), (False, True)):
        result, own = results[rank][replicated], rows.split([2, 1])[rank]
        weight = 2.0 if replicated else 1.0 + 2.0  # what the two ranks send back, together
        assert result["place"] == (rank, 2, 1)
        assert result["counts"] == (2, 1)
        assert result["labels"].tolist() == [7]
        torch.testing.assert_close(result["gathered"], rows)
        torch.testing.assert_close(result["total"], rows.sum(0))
        torch.testing.assert_close(result["gather gradient"], 2 * own * weight)
        expected = (2 * rows.sum(0) * weight).expand_as(own)
        torch.testing.assert_close(result["sum gradient"], expected)


def test_death_is_a_failure_at_once():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"(?s)rank 1 ended with code 1.*out of order"):
        run_ranks(one_raises, 2, 1)
    assert time.monotonic() - start < 90


def one_is_killed(culprit):
    """The other rank waits for it in a collective."""
    if dist.get_rank() == culprit:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def test_a_killed_process_is_a_failure_at_once():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"rank 0 ended with code -9\nno traceback"):
        run_ranks(one_is_killed, 2, 0)
    assert time.monotonic() - start < 90


def dies_after_its_result():
    Finalize(None, os._exit, (3,), exitpriority=1)  # the result is written, then it goes down
    return "looks well"


def test_death_after_the_result_is_a_failure():
    with pytest.raises(RuntimeError, match="rank 0 ended with code 3"):
        run_ranks(dies_after_its_result, 1)


def test_leaving_without_a_result_is_a_failure():
    with pytest.raises(RuntimeError, match="rank 0 ended with code 0 but left no result"):
        run_ranks(os._exit, 1, 0)


def test_hanging_is_a_failure():
    before = multiprocessing.active_children()
    with pytest.raises(TimeoutError, match=r"ranks \[0\]"):
        run_ranks(time.sleep, 1, 600, timeout=6.0)
    assert multiprocessing.active_children() == before
