"""What the page of a tuning says, from made-up records alone."""

import itertools
import json
import math
import re

import numpy as np
import pytest

from coview.pages.tune_chart import chart
from coview.pages.tune_chart import spread as spread_labels
from coview.pages.tune_page import write_tune_page
from coview.pages.tune_words import Found, advice, changes, headline, lead

SMALL = {"smallest_crop": 0.2, "flip": 0.5, "jitter": 0.5, "grey": 0.2, "blur": 0.0}
CEILING = math.log(1024)


def rung(steps, accuracy, rank=20.0, verdict="healthy"):
    error = None if accuracy is None else 0.008
    return {
        "steps": steps,
        "accuracy": accuracy,
        "standard_error": error,
        "rank": rank,
        "lidar": rank / 2,
        "verdict": verdict,
        "seconds": 12.3,
    }


def information(nats, error=0.05, *, saturated=False):
    return {
        "nats": nats,
        "standard_error": error,
        "ceiling": CEILING,
        "ceiling_name": "log 1024",
        "n": 1024,
        "saturated": saturated,
        "warnings": ["saturated: near its ceiling"] if saturated else [],
    }


def point(name, nats, rungs, *, made="proposed", saturated=False, **strengths):
    return {
        "name": name,
        "made": made,
        "strengths": {**SMALL, **strengths},
        "policy": {"name": name, "views": [[], []]},
        "information": information(nats, saturated=saturated),
        "rungs": rungs,
    }


def three(accuracies, ranks=(20.0, 21.0, 22.0)):
    steps = (38, 114, 342)
    return [rung(*each) for each in zip(steps, accuracies, ranks[: len(accuracies)], strict=False)]


def tuned(*, points=None, order=None, **changed):
    """Return a record whose best point is weak in colour."""
    points = points or [
        point("small", 4.3, three([0.38, 0.41, 0.43]), made="default"),
        point("ladder 1", 6.8, three([0.31]), saturated=True, made="ladder", jitter=0.0),
        point("point 7", 3.1, three([0.41, 0.44, 0.461]), jitter=0.1, grey=0.0),
        point("point 8", 0.9, three([0.12], [2.0]), jitter=1.5, blur=0.5),
    ]
    points[-1]["rungs"][0]["verdict"] = "views too strong"
    record = {
        "format": 4,
        "status": "finished",
        "command": "coview views tune ./images",
        "created": "2025-01-01",
        "seconds": 900.0,
        "asked": {"minutes": 15, "labels_per_class": None},
        "shown": {
            "per_class": 20,
            "trunk": [{"per_class": n, "accuracy": a} for n, a in ((5, 0.61), (20, 0.74))],
        },
        "data": {
            "name": "shapes",
            "images": 9000,
            "size": 8,
            "channels": 3,
            "training": 6000,
            "validation": 1000,
            "labelled": 6000,
            "classes": ["a", "b"],
        },
        "judge": "accuracy",
        "default": "small",
        "lengths": {
            "batch_size": 128,
            "trunk": 512,
            "rungs": [38, 114, 342],
            "points": [18, 6, 2],
        },
        "points": points,
        "order": order or ["point 7", "small", "ladder 1", "point 8"],
        "gain": {"value": 0.031, "interval": [0.012, 0.05]},
        "tested": {
            "name": "point 7",
            "images": 1000,
            "chance": 0.1,
            "rung": 3,
            "value": 0.45,
            "interval": [0.42, 0.48],
        },
        "two_lines": {
            "verdict": "inverted U",
            "break": 3.2,
            "low": {"slope": 0.03, "t": 2.9, "p": 0.004, "ends": [[0.9, 0.3], [3.2, 0.4]]},
            "high": {"slope": -0.021, "t": -2.6, "p": 0.0002, "ends": [[3.2, 0.4], [6.8, 0.32]]},
            "n": 3,
        },
        "trust": {
            "rank": {
                "kendall": 0.61,
                "p": 0.004,
                "chosen": "point 8",
                "accuracy": 0.43,
                "best_accuracy": 0.46,
                "n": 18,
            },
            "lidar": None,
        },
        "splits": [],
        "notes": [],
        "environment": {"python": "3.11"},
    }
    record.update(changed)
    record.setdefault("best", record["order"][0])
    return record


def unlabelled(**changed):
    points = [
        point("small", 4.3, [rung(38, None, 20.0), rung(114, None, 27.4)], made="default"),
        point("point 7", 3.1, [rung(38, None, 22.0), rung(114, None, 31.2)], jitter=0.1, grey=0.0),
    ]
    empty = {"gain": None, "tested": None, "two_lines": None, "trust": {}, "judge": "rank"}
    return tuned(**{"points": points, "order": ["point 7", "small"], **empty, **changed})


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def write_folder(folder, record):
    (folder / "tune.json").write_text(json.dumps(record))
    shape = (len(record["points"]), 4, 2, record["data"]["channels"], 8, 8)
    views = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.savez(folder / "pictures.npz", images=views[0, :, 0], views=views)
    return write_tune_page(folder).read_text()


def with_best(**strengths):
    points = [
        point("small", 4.3, three([0.4]), made="default"),
        point("point 7", 3.1, three([0.5]), **strengths),
    ]
    return tuned(points=points, order=["point 7", "small"])


def test_the_headline_says_what_to_change_and_how_sure_that_is():
    record = tuned()
    assert headline(Found(record)) == "Use weaker colour: jitter 0.1 instead of 0.5, no grey"
    assert lead(Found(record)).startswith(
        "+3.1 points of balanced accuracy (95 % interval +1.2 to +5.0) against the default, small, "
        "on 1,000 test images, which did not choose it, after rung 3."
    )
    record["gain"]["interval"] = [-0.01, 0.05]
    assert headline(Found(record)).startswith("Try weaker colour:")
    assert "Not told apart from the default: keep that, or train with both." in lead(Found(record))
    record |= {"gain": {"value": -0.03, "interval": [-0.05, -0.01]}, "best": "small"}
    assert headline(Found(record)) == "Keep the default, small"
    assert lead(Found(record)) == (
        "point 7 was ahead on the images that chose, and is behind on others: −3.0 points of "
        "balanced accuracy (95 % interval −5.0 to −1.0) against the default, small, on 1,000 test "
        "images. The policy file is the default."
    )


def test_labels_that_cannot_be_read_tune_nothing():
    record = tuned(best="small", gain=None)
    record["tested"] |= {"value": 0.12, "interval": [0.09, 0.15]}
    assert headline(Found(record)) == "Nothing to tune by: the labels are not told from chance"
    assert lead(Found(record)).startswith(
        "On 1,000 test images the best of 4 sets of views, point 7, reads them with 12.0 % "
        "balanced accuracy (95 % interval 9.0 to 15.0); chance is 10.0 %. The policy file is the "
        "default, small."
    )
    record["tested"]["interval"] = [0.11, 0.15]
    assert headline(Found(record)) == "Keep the default, small"


def test_a_default_that_is_best_is_kept():
    record = tuned(order=["small", "point 7", "ladder 1", "point 8"], gain=None)
    assert headline(Found(record)) == "Keep the default, small"
    assert lead(Found(record)) == (
        "No other of 4 sets of views did better by balanced accuracy. On test images: 45.0 % "
        "balanced accuracy (95 % interval 42.0 to 48.0)."
    )
    assert (
        "share 4.3 nats; 2 of the other points share less, 1 as much or more"
        in (advice(Found(record))[0])
    )


@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ({"smallest_crop": 0.5}, "Use larger crops: crops of at least 50 % of the image instead"),
        ({"smallest_crop": 1.0, "jitter": 1.0}, "Use no crops and stronger colour: jitter 1 inst"),
        ({"blur": 0.25}, "Use more blur: blur 0.25 instead of none"),
        ({"flip": 0.0}, "Use no flips"),
        ({"jitter": 0.9, "grey": 0.0}, "Use other colour: jitter 0.9 instead of 0.5, no grey"),
        ({"smallest_crop": 0.05, "jitter": 1.0, "grey": 0.4, "blur": 0.5}, "Use stronger views"),
        ({}, "Use the views of point 7"),
    ],
    ids=["crop", "none", "blur", "flip", "mixed", "all", "same"],
)
def test_changes_in_words(strengths, expected):
    found = plain(headline(Found(with_best(**strengths))))
    assert found.startswith(expected)


def test_many_changes_are_in_full_below_the_headline():
    record = with_best(smallest_crop=0.05, jitter=1.0, grey=0.4, blur=0.5)
    assert headline(Found(record)) == "Use stronger views"
    assert "In full: crops of at least 5 % of the image instead of 20 %, jitter 1 instead" in (
        plain(lead(Found(record)))
    )


def test_grey_says_nothing_of_images_without_colour(tmp_path):
    record = with_best(jitter=0.1, grey=0.4)
    record["data"]["channels"] = 5
    assert changes(Found(record)) == (["weaker jitter"], ["jitter 0.1 instead of 0.5"])
    text = write_folder(tmp_path, record)
    assert "<th>Grey</th>" not in text
    assert "Images have 5 channels; the first three are shown." in text


@pytest.mark.parametrize(
    ("best", "default", "expected"),
    [
        ((3.1, False), (4.3, False), "shares 3.1 nats, 1.2 ± 0.1 less than the default (4.3)"),
        ((4.3, False), (3.1, False), "shares 4.3 nats, 1.2 ± 0.1 more than the default (3.1)"),
        (
            (3.1, False),
            (6.8, True),
            "3.1 nats, at least 3.7 ± 0.1 less than the default (at least 6.8)",
        ),
        ((3.1, False), (3.2, False), "shares about as much as the default (3.1 against 3.2 nats)"),
        ((6.8, True), (3.1, False), "at least 6.8 nats, at least 3.7 ± 0.1 more than the default"),
        ((6.7, True), (6.8, True), "at least 6.7 nats: which share more is not known"),
    ],
    ids=["less", "more", "ceiling", "alike", "open", "both"],
)
def test_the_sweet_spot_against_the_default(best, default, expected):
    record = tuned()
    by_name = {point["name"]: point for point in record["points"]}
    by_name["point 7"]["information"] = information(best[0], saturated=best[1])
    by_name["small"]["information"] = information(default[0], saturated=default[1])
    assert expected in advice(Found(record))[0]


def test_an_inverted_u_is_told_with_both_slopes_or_denied():
    record = tuned()
    assert advice(Found(record))[1] == (
        "An inverted U by the two-lines test on 3 points below the ceiling: accuracy changes by "
        "+3.0 points a nat (p = 0.004) up to 3.2 nats, and by −2.1 points a nat (p < 0.001) above."
    )
    record["two_lines"]["verdict"] = "no inverted U"
    assert advice(Found(record))[1].startswith("No inverted U was found: by the two-lines test")
    record["two_lines"] = None
    assert "Too few points" in advice(Found(record))[1]
    assert "Points differ in kind" in advice(Found(record))[2]


def test_how_well_rank_would_have_chosen():
    record = tuned()
    assert advice(Found(record))[3] == (
        "Without labels, effective rank would have chosen point 8: 43.0 % against 46.0 % of the "
        "most accurate point. Over 18 points, Kendall’s τ of effective rank and "
        "accuracy is +0.61 (p = 0.004): it is some guide here."
    )
    trust = record["trust"]["rank"]
    record["trust"]["lidar"] = trust | {"chosen": "small"}
    assert advice(Found(record))[4].startswith("Without labels, LiDAR would have chosen small")
    record["trust"]["lidar"] = None
    trust["kendall"] = -0.61
    assert advice(Found(record))[3].endswith("is −0.61 (p = 0.004): it misleads here.")
    trust["p"] = 0.2
    assert advice(Found(record))[3].endswith("it is no guide on these images.")
    trust["kendall"] = trust["p"] = None
    assert advice(Found(record))[3].endswith("of the most accurate point.")
    record["trust"]["rank"] = None
    assert len(advice(Found(record))) == 3


def test_without_labels_the_choice_is_a_guess(tmp_path):
    record = unlabelled()
    tuning = Found(record)
    assert headline(tuning).startswith("Try weaker colour")
    assert lead(tuning) == (
        "A guess, without labels. Judged by effective rank, after rung 2: 31.2 against 27.4 of "
        "the default, small."
    )
    assert "not whether these are useful. The choice is a guess" in advice(tuning)[-1]
    assert advice(tuning)[2] == (
        "LiDAR, another diagnostic, is highest for point 7 after the first rung, too."
    )
    text = write_folder(tmp_path, record)
    assert "Effective rank" in text
    assert ">31.2<" in text
    assert "accuracy, %" not in text
    kept = unlabelled(order=["small", "point 7"])
    assert lead(Found(kept)).endswith(
        "of 2 sets of views did better by effective rank. A guess: there were no labels."
    )
    assert (
        "highest for point 7 after the first rung, and not the best by rank."
        in (advice(Found(kept))[2])
    )
    kept["points"][0]["rungs"][-1]["verdict"] = "full collapse"
    assert lead(Found(kept)).startswith("Even its representations are in full collapse")


def test_marks_stand_where_their_numbers_say():
    found = chart(Found(tuned()))
    by_kind = {mark.kind: mark for mark in found.marks}
    assert [mark.label for mark in found.marks] == ["3 best", "1 default", "2", "4"]
    best, default = by_kind["best"], by_kind["default"]
    assert best.x < default.x
    assert best.y < default.y  # from the top
    assert best.up[0] > best.y > best.up[1]
    assert [mark.is_open for mark in found.marks] == [False, False, True, False]
    assert [tick.text for tick in found.ceilings] == ["log 1024"]
    at = {tick.text: tick.place for tick in found.x_ticks}
    assert at["2"] < best.x < at["4"] < default.x < at["6"]
    (left, right), _ = found.lines
    assert left[1] > right[1]  # the first line rises


def test_a_point_never_judged_has_no_mark():
    record = tuned()
    record["points"][3]["rungs"] = []
    record["points"][1]["rungs"][0]["accuracy"] = None
    assert [mark.label for mark in chart(Found(record)).marks] == ["3 best", "1 default"]
    for one in record["points"]:
        one["rungs"] = one["rungs"][:1]
        for each in one["rungs"]:
            each["accuracy"] = None
    assert chart(Found(record)) is None


def test_labels_of_a_crowd_do_not_overlap():
    random = np.random.default_rng(0)
    places = [(95.0 - random.random(), 40 + 20 * random.random()) for _ in range(9)]
    places += [(10 + 80 * random.random(), 100 * random.random()) for _ in range(9)]
    labels = ["1 best", "2 default", *map(str, range(3, 19))]
    offsets = spread_labels(places, labels)
    for width in (300, 980):
        centres = [
            (x * width / 100 + dx, y * 3.52 + dy, 7 * len(label))
            for (x, y), (dx, dy), label in zip(places, offsets, labels, strict=True)
        ]
        for a, b in itertools.combinations(centres, 2):
            assert abs(a[0] - b[0]) >= (a[2] + b[2]) / 2 - 4 or abs(a[1] - b[1]) >= 9


def test_the_table_is_in_order_and_marks_what_is_saturated_or_ill(tmp_path):
    text = write_folder(tmp_path, tuned())
    table = text.split('<table class="all">')[1].split("</table>")[0]
    rows = [re.sub(r"<[^>]+>", "|", row) for row in table.split("<tr")[2:]]
    assert [row.split("|")[3].strip() for row in rows] == [
        "point 7",
        "small",
        "ladder 1",
        "point 8",
    ]
    assert "≥ 6.80 ± 0.10" in rows[2]
    assert "log 1024 = 6.93" in rows[2]
    assert "≥" not in rows[0]
    assert "46.1 ± 1.6" in rows[0]
    assert rows[2].count("–") == 2 + 2  # jitter and blur; rungs 2 and 3
    assert "views too strong" in rows[3]
    assert 'class="changed">0.1<' in table
    assert "Rung 3" in table


def test_galleries_open_for_those_to_compare(tmp_path):
    points = [
        point("small", 4.3, three([0.4]), made="default"),
        *(point(f"point {n:.0f}", n, three([0.3])) for n in (1.0, 2.0, 3.0, 6.0)),
    ]
    order = ["point 3", "point 2", "small", "point 1", "point 6"]
    text = write_folder(tmp_path, tuned(points=points, order=order))
    shown = re.findall(r'<details class="views"( open)?>\s*<summary>(.*?)</summary>', text)
    assert [(bool(is_open), re.sub("<[^>]+>", "", name)) for is_open, name in shown] == [
        (True, "4 · point 3 best"),
        (False, "3 · point 2"),
        (True, "1 · small default"),
        (True, "2 · point 1 shares least"),
        (True, "5 · point 6 shares most"),
    ]
    assert text.count("<img") == 4 + 5 * 4 * 2


def test_each_gallery_shows_its_own_views(tmp_path):
    write_folder(tmp_path, tuned())
    with np.load(tmp_path / "pictures.npz") as arrays:
        images, views = arrays["images"], arrays["views"].copy()
    views[2] = 0  # point 7, the best
    np.savez(tmp_path / "pictures.npz", images=images, views=views)
    text = write_tune_page(tmp_path).read_text()
    best = text.split("3 · point 7")[1].split("</details>")[0]
    assert len(set(re.findall(r'src="([^"]+)"', best))) == 1
    others = text.split("1 · small")[1].split("</details>")[0]
    assert len(set(re.findall(r'src="([^"]+)"', others))) == 8


def test_splits_have_their_own_table_and_command(tmp_path):
    def split(name, accuracy):
        about = {k: v for k, v in information(2.0).items() if k != "saturated"}
        error = None if accuracy is None else 0.01
        return {
            "name": name,
            "information": about,
            "accuracy": accuracy,
            "standard_error": error,
            "steps": 664,
            "seconds": 9.0,
        }

    splits = [split("RGB:0|12", 0.4), split("YDbDr:0|12", 0.41), split("Lab:0|12", None)]
    splits.append(splits[0] | {"name": "HSV:0|12", "information": None, "accuracy": None})
    text = write_folder(tmp_path, tuned(splits=splits))
    assert "--split &#39;YDbDr:0|12&#39; --views cmc --objective info_nce" in text
    assert "from scratch for 664 steps" in text
    assert "41.0 ± 2.0" in text
    assert "<td>HSV:0|12</td>" in text
    assert "<td>diverged</td>" in text
    assert "Splits of the colours" not in write_folder(tmp_path, tuned())


def test_the_command_names_the_folder_and_names_are_escaped(tmp_path):
    folder = tmp_path / "my tuning"
    folder.mkdir()
    record = tuned(notes=["a <b>note</b>"])
    record["points"][2]["name"] = record["best"] = record["order"][0] = "<i>odd</i>"
    text = write_folder(folder, record)
    assert "coview pretrain ./images --views &#39;my tuning/policy.json&#39;" in text
    assert str(tmp_path) not in text
    assert "<i>odd" not in text
    assert "&lt;i&gt;odd" in text
    assert "<b>note" not in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_one_channel(tmp_path):
    record = tuned()
    record["data"]["channels"] = 1
    assert "weaker jitter" in write_folder(tmp_path, record)


def test_only_a_finished_tuning_has_a_page(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a finished tuning"):
        write_tune_page(tmp_path)
    (tmp_path / "tune.json").write_text('{"status": "running", "format": 2}')
    with pytest.raises(FileNotFoundError, match="not a finished tuning"):
        write_tune_page(tmp_path)
    (tmp_path / "tune.json").write_text('{"status": "finished", "format": 9}')
    with pytest.raises(ValueError, match="format 9"):
        write_tune_page(tmp_path)
    (tmp_path / "tune.json").write_text(json.dumps(tuned()))
    with pytest.raises(FileNotFoundError, match=r"pictures\.npz"):
        write_tune_page(tmp_path)


def test_easy_labels_and_how_many_are_shown():
    record = tuned()
    record["shown"] = {"per_class": 5, "trunk": [{"per_class": 5, "accuracy": 0.991}]}
    assert advice(Found(record))[-1].startswith("The labels are easy: before any choice, 99 % are")
    assert not any(line.startswith("The labels are easy") for line in advice(Found(tuned())))


def test_the_page_tells_how_many_labels_are_shown(tmp_path):
    text = write_folder(tmp_path, tuned())
    assert "at most 20 a class shown to a probe, for they leave the most room" in text
    assert "the trunk reads 61 % of 5, 74 % of 20" in text
