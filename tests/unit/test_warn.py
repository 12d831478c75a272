"""Warnings are shown, and kept for a record whatever the filters say."""

import warnings

import pytest

from coview.warn import add_kept_warnings, kept_warnings, warn


def test_a_text_is_shown_each_time_and_kept_once():
    with kept_warnings() as kept:
        for _ in range(2):
            with pytest.warns(RuntimeWarning, match="size: odd"):
                warn("size: odd")
    assert kept == ["size: odd"]


@pytest.mark.filterwarnings("ignore")
def test_what_a_filter_hides_is_kept():
    with kept_warnings() as kept:
        warn("size: odd")
    assert kept == ["size: odd"]


@pytest.mark.filterwarnings("ignore")
def test_a_record_takes_each_text_once_and_keeps_those_of_before():
    record = {"warnings": ["labels: few", "size: odd"]}
    with kept_warnings():
        warn("size: odd")
        warn("groups: few")
        add_kept_warnings(record)
    assert record["warnings"] == ["labels: few", "size: odd", "groups: few"]
    with kept_warnings():
        add_kept_warnings(record)
    assert len(record["warnings"]) == 3


def test_nothing_is_kept_outside():
    with kept_warnings() as kept:
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warn("size: odd")
    assert kept == []
    record = {}
    add_kept_warnings(record)
    assert record == {"warnings": []}
