import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from coview.pages import read_records, write_figures, write_page
from coview.pages.charts import decades, forest, line, named_ticks, number, ticks
from coview.pages.pictures import displayable, grid_places
from coview.pages.words import directions, headline
from coview.random import generator

CLASSES = ["zero", "one", "two", "three"]


def smooth_images(count, channels, size, labels):
    """Draw blurred blobs whose place depends on the class."""
    rng = generator("fake images")
    y, x = np.mgrid[0:size, 0:size] / size
    angle = labels[:, None] * np.pi / 2 + rng.normal(scale=0.3, size=(count, 1))
    centre = 0.5 + 0.25 * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    distance = (x - centre[:, :1, None]) ** 2 + (y - centre[:, 1:, None]) ** 2
    blob = np.exp(-distance / 0.03)[:, None] * rng.uniform(0.4, 1, size=(count, channels, 1, 1))
    return (255 * (0.15 + 0.85 * blob)).clip(0, 255).astype(np.uint8)


def fake_evaluation(classes):
    results, differences = [], []
    subjects = {"trained": 0.67, "raw pixels": 0.47, "untrained encoder": 0.31}
    for probe, shift in (("linear", 0.0), ("k-NN", -0.04)):
        for labels, gain in ((10, 0.0), (100, 0.12), ("all", 0.15)):
            for subject, base in subjects.items():
                value = base + shift + gain
                results.append(
                    {
                        "subject": subject, "probe": probe, "labels_per_class": labels,
                        "accuracy": value, "interval": [value - 0.03, value + 0.03],
                        "balanced_accuracy": value - 0.004, "n": 410,
                        "draws": 1 if labels == "all" else 10, "setting": {"strength": 1.0},
                    }
                )  # fmt: skip
                if subject != "trained":
                    gap = subjects["trained"] - base
                    differences.append(
                        {
                            "subject": "trained", "against": subject, "probe": probe,
                            "labels_per_class": labels, "difference": gap,
                            "interval": [gap - 0.025, gap + 0.025],
                        }
                    )  # fmt: skip
    return {
        "classes": classes,
        "split": {"train": 1240, "validation": 410, "test": 410, "disjoint_by": "signer"},
        "results": results,
        "differences": differences,
        "settings": {"draws": 10, "notes": ["100 labels a class: fewer exist for zero (97)"]},
    }


def write_fake_run(folder, *, labelled=True, channels=3, size=40, count=60, pictures=None):
    """Write a run folder with every record; `pictures` may give (images, labels, classes)."""
    rng = generator("fake run")
    labels = np.arange(count) % len(CLASSES)
    images = smooth_images(count, channels, size, labels)
    classes = CLASSES
    if pictures is not None:
        images, labels, classes = pictures
        count, channels, size = len(images), images.shape[1], images.shape[2]
    (folder / "pictures").mkdir(parents=True)
    run = {
        "format": 1, "status": "finished", "command": "coview pretrain sample --out runs/demo",
        "created": "2025-06-01T10:00:00+00:00", "seconds": 87.0,
        "config": {"objective": {"name": "nt_xent", "temperature": 0.2}, "views": "small",
                   "batch_size": 256, "seed": 0, "weights": None},
        "data": {"name": "sample", "images": 1240, "channels": channels, "size": size,
                 "classes": classes if labelled else [], "skipped": 2},
        "encoder": {"backbone": "compact", "dim": 256, "parameters": 1234567},
        "environment": {"python": "3.11.7", "torch": "2.9", "coview": "0.1.0", "threads": 2},
        "notes": [],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    rows = []
    for step in range(0, 400, 5):
        row = {
            "step": step, "epoch": step / 20, "loss": 5.5 - 3 * (1 - np.exp(-step / 120)),
            "terms": {}, "learning_rate": 1e-3, "images_per_second": 900.0, "seconds": step / 5,
            "effective_rank": 20 + 70 * (1 - np.exp(-step / 90)) + rng.normal(),
        }  # fmt: skip
        row["loss"] += float(rng.normal(scale=0.05))
        if labelled and step % 50 == 0:
            row["knn"] = 0.3 + 0.4 * (1 - np.exp(-step / 100))
        rows.append(json.dumps(row))
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    skipped = [{"name": "a<b>.jpg", "reason": "truncated"}, {"name": "c.png", "reason": "text"}]
    (folder / "skipped.jsonl").write_text("\n".join(map(json.dumps, skipped)) + "\n")
    n = min(12, count)
    crop = images[:n, :, size // 8 : -size // 8, size // 8 : -size // 8]
    crop = crop.repeat(2, axis=2).repeat(2, axis=3)[:, :, :size, :size]
    made = {
        "random_resized_crop": {"top": 3, "left": 5.25, "height": 40, "width": 38},
        "flip": {"applied": True},
        "color_jitter": {"brightness": 1.13, "contrast": 0.92, "saturation": 1.3, "hue": -0.04},
    }
    np.savez(
        folder / "pictures" / "views.npz",
        views=np.stack([crop, crop[..., ::-1]]),
        images=images[:n],
        captions=json.dumps([[made] * n] * 2),
    )
    flat = images.reshape(count, -1).astype(np.float32)
    flat -= flat.mean(axis=0)
    u, s, _ = np.linalg.svd(flat, full_matrices=False)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    queries = np.arange(8) * max(count // 8, 1) % count
    similarities = unit[queries] @ unit.T
    similarities[np.arange(8), queries] = -2
    neighbours = np.argsort(-similarities, axis=1)[:, :8]
    thumbnails = images[:, [0, 0, 0] if channels < 3 else [0, 1, 2]].transpose(0, 2, 3, 1)
    np.savez(
        folder / "pictures" / "atlas.npz",
        thumbnails=thumbnails,
        map=(u[:, :2] * s[:2]).astype(np.float32),
        labels=labels if labelled else np.full(count, -1),
        queries=queries,
        neighbours=neighbours,
        similarities=np.take_along_axis(similarities, neighbours, axis=1).astype(np.float32),
        spectrum=(s / s[0]).astype(np.float32),
        names=json.dumps([f"{i}.png" for i in range(count)]),
    )
    if labelled:
        (folder / "evaluation.json").write_text(json.dumps(fake_evaluation(classes)))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_fake_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(run):
    return write_page(run).read_text(encoding="utf-8")


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S))


class Tags(HTMLParser):
    """Collects ids and open tags, and sees that they are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.sources = [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "img":
            self.sources.append(found["src"])
            assert found["alt"]
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in ("img", "meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag == "path"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_the_page_is_whole_and_needs_no_network(page):
    tags = parsed(page)
    assert tags.ids == ["judgement", "views", "neighbours", "map", "curves", "skipped", "record"]
    assert len(tags.sources) == 12 * 3 + 8 * 9 + 1
    assert all(source.startswith("data:image/") for source in tags.sources)
    assert "<script" not in page
    assert not re.search(r"https?://|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert len(page) < 4_000_000


def test_the_headline_is_computed_from_the_records(page):
    text = text_of(page)
    assert (
        "With 10 labels a class the encoder’s linear probe reaches 67 % [64, 70], "
        "20 points above raw pixels." in text
    )
    assert re.search(r"\+36 \[\+3[34], \+3[89]\] against an untrained encoder", text)
    assert "signers that the probes never saw" in text


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.09, "5 points above raw pixels"),
        (-0.09, -0.01, "5 points below raw pixels"),
        (-0.01, 0.11, "not clearly different from raw pixels"),
    ],
)
def test_the_headline_claims_only_what_the_interval_allows(run, low, high, words):
    records = read_records(run)
    first = records.evaluation["differences"][0]
    first |= {"difference": (low + high) / 2, "interval": [low, high]}
    assert words in headline(records).text


def test_numbers_settings_and_file_names_are_there_and_escaped(page):
    text = text_of(page)
    for part in ("66.6", "64.0 to 70.0", "+17.5 to +22.5", "objective.temperature", "no signer in"):
        assert part in text
    assert "a&lt;b&gt;.jpg" in page
    assert "coview pretrain sample --out runs/demo" in text
    assert "brightness 1.13" in text
    assert "✗" in page


def test_without_labels_nothing_is_claimed(tmp_path):
    page = write_page(write_fake_run(tmp_path / "bare", labelled=False, channels=1)).read_text()
    tags = parsed(page)
    assert "judgement" not in tags.ids
    assert "No labels, so no accuracy" in text_of(page)
    assert "k-NN accuracy" not in page
    assert "✓" not in page


def test_a_collapse_is_said(tmp_path):
    run = write_fake_run(tmp_path / "collapsed", labelled=False)
    with np.load(run / "pictures" / "atlas.npz") as stored:
        arrays = dict(stored) | {"spectrum": np.array([1.0] + [1e-9] * 99, np.float32)}
    np.savez(run / "pictures" / "atlas.npz", **arrays)
    assert "has collapsed" in headline(read_records(run)).text


def fake_diagnosis(**changed):
    return {
        "verdict": "healthy", "sentence": "Healthy: no collapse, and the views are not too strong.",
        "evidence": "", "advice": "Whether they serve a task, only labels tell.",
        "checks": [
            {"against": "full collapse", "measure": "spread <of> all", "value": 0.41234,
             "limit": 0.01, "least": True, "passed": True},
            {"against": "views too weak", "measure": "before training", "value": 0.97,
             "limit": 0.9, "least": False, "passed": False},
        ],
        "measures": [{"name": "LiDAR", "value": 106.2555, "meaning": "directions, of 255"}],
        "cautions": ["60 images in 256 dimensions."], "images": 1000, "views": 4, "dim": 256,
        "policy": "small", "held_out": True, "images_from": "sample", "draws": 2, "seed": 0,
    } | changed  # fmt: skip


def test_a_diagnosis_is_shown_verdict_first(tmp_path):
    run = write_fake_run(tmp_path / "diagnosed")
    (run / "diagnosis.json").write_text(json.dumps(fake_diagnosis()))
    page = write_page(run).read_text(encoding="utf-8")
    assert parsed(page).ids[:3] == ["judgement", "diagnosis", "views"]
    text = text_of(page)
    parts = (
        "from 4 views each of 1,000 images that training never saw, made by &#39;small&#39; as in",
        "Healthy: no collapse, and the views are not too strong. Whether they serve",
        "full collapse spread &lt;of&gt; all 0.412 at least 0.01 ✓",
        "views too weak before training 0.97 at most 0.9 ✗",
        "60 images in 256 dimensions.",
        "LiDAR 106 directions, of 255",
    )
    places = [text.find(part) for part in parts]
    assert min(places) >= 0
    assert places == sorted(places)
    assert '<p class="banner"><b>Healthy' not in page


def test_without_labels_the_diagnosis_is_the_headline(tmp_path):
    run = write_fake_run(tmp_path / "ill", labelled=False)
    sentence = "Cluster collapse: the images lie on a few points."
    ill = fake_diagnosis(
        verdict="cluster collapse", sentence=sentence, evidence="share: 0.001, sound at least 0.05",
        views=1, policy=None, held_out=False,
    )  # fmt: skip
    (run / "diagnosis.json").write_text(json.dumps(ill))
    page = write_page(run).read_text(encoding="utf-8")
    assert headline(read_records(run)).text == f"No labels, so no accuracy. {sentence}"
    assert f'<p class="banner"><b>{sentence}</b>' in page
    assert f"{sentence} (share: 0.001, sound at least 0.05.) Whether" in text_of(page)
    assert "from 1,000 images, as they are." in text_of(page)


def test_missing_records_leave_their_section_out(tmp_path):
    run = tmp_path / "young"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"format": 1, "status": "running", "command": "x"}))
    page = write_page(run).read_text()
    assert parsed(page).ids == ["record"]
    assert "still running" in page
    assert write_figures(run, tmp_path / "figures") == []


def test_a_line_cut_by_a_kill_is_dropped_but_a_broken_record_is_named(tmp_path):
    run = write_fake_run(tmp_path / "killed")
    whole = len(read_records(run).metrics)
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 40')
    assert len(read_records(run).metrics) == whole
    metrics.write_text('{"step"\n' + metrics.read_text())
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1"):
        read_records(run)
    (run / "run.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="format 2, expected 1"):
        read_records(run)
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        write_page(tmp_path)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_are_shown_and_said(tmp_path, channels):
    page = write_page(write_fake_run(tmp_path / "n", channels=channels)).read_text()
    assert ("5 channels; the first three" in page) == (channels == 5)
    assert ("their mean is shown as grey" in page) == (channels == 2)


def test_displayable():
    pixels = generator("pixels").integers(0, 256, size=(5, 4, 6)).astype(np.uint8)
    assert np.array_equal(displayable(pixels), pixels[:3].transpose(1, 2, 0))
    assert np.array_equal(displayable(pixels[:1])[:, :, 2], pixels[0])
    assert np.array_equal(
        displayable(pixels[:2])[:, :, 1], np.rint(pixels[:2].astype(float).mean(0))
    )


def test_grid_places_are_distinct_and_keep_the_directions():
    points = generator("places").normal(size=(40, 2)).astype(np.float32)
    places = grid_places(points, 8)
    assert len({tuple(p) for p in places}) == 40
    assert places.min() >= 0
    assert places.max() < 8
    assert np.corrcoef(points[:, 0], places[:, 1])[0, 1] > 0.8
    assert np.corrcoef(points[:, 1], places[:, 0])[0, 1] < -0.8


def test_chart_geometry():
    drawn = line([0.0, 5.0, 10.0], [2.0, 4.0, 3.0], title="t", note="", from_zero=True)
    assert drawn is not None
    heights = [f"{100 - 100 * y / 4.24:.2f}" for y in (2, 4, 3)]
    assert drawn.path == "M0.00,{}L50.00,{}L100.00,{}".format(*heights)
    assert drawn.last == "3"
    assert line([0.0, 1.0], [1.0, float("nan")], title="t", note="") is None
    assert ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(-3.0, 17.0) == [0, 5, 10, 15]
    assert decades(-4.2, 0.1) == [-4, -3, -2, -1, 0]
    assert (number(12345.6), number(0.01234), number(1e-4), number(0.0)) == (
        "12,346", "0.0123", "10⁻⁴", "0"
    )  # fmt: skip


def test_ticks_that_stand_close_are_told_apart():
    assert [text for _, text in named_ticks(0.0, 1.0)] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [text for _, text in named_ticks(99.9, 100.1)] == [
        "99.90", "99.95", "100.00", "100.05", "100.10",
    ]  # fmt: skip
    assert [text for _, text in named_ticks(1000.1, 1000.9, 4)] == [
        "1,000.2", "1,000.4", "1,000.6", "1,000.8",
    ]  # fmt: skip


def test_the_forest_keeps_zero_in_sight():
    (row,) = fake_evaluation(CLASSES)["differences"][:1]
    drawn = forest([row])
    assert drawn is not None
    (difference,) = drawn.groups["raw pixels"]
    assert 0 < drawn.zero < difference.bar.low < difference.bar.value < difference.bar.high < 100
    assert (difference.points, difference.interval) == ("+20", "[+18, +23]")


def test_directions_of_a_spectrum():
    assert directions(np.array([1.0, 1.0, 1.0, 0.0])) == pytest.approx(3.0)
    assert directions(np.zeros(3)) == 0.0


def test_figures_are_written_from_the_records(run, tmp_path):
    written = write_figures(run, tmp_path / "out")
    assert [path.name for path in written] == ["bars.png", "pairs.png", "neighbours.png"]
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture.convert("L")).std() > 5
