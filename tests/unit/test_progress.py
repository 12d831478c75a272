"""The bar of a search: the time left is that of the work still to do."""

import pytest
from rich.progress import Task

from coview.search import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_the_time_left_is_told_by_the_pace(clock, capsys):
    with progress.bar("tune", 100) as shown:
        clock[0] = 10.0
        shown.advance("first", 25)
        shown.advance("first", 25)
        shown.advance("second", 0)
    assert capsys.readouterr().err.splitlines() == [
        "tune: first, 30 s left",
        "tune: second, 10 s left",
    ]


def test_work_done_before_is_no_pace(clock, capsys):
    with progress.bar("tune", 1000) as shown:
        shown.skip(900)
        clock[0] = 10.0
        shown.advance("third", 50)
        (task,) = shown.progress.tasks
        assert isinstance(task, Task)
        assert (task.completed, task.total) == (50, 100)
    assert capsys.readouterr().err == "tune: third, 10 s left\n"
