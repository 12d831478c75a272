"""Commands as a user meets them: a folder of pictures in, records and errors out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import coview
import coview.data
from coview.cli import main

CLASSES = ("disc", "stripes")


def picture(kind: int, rng: np.random.Generator) -> Image.Image:
    """Draw a disc or stripes, at a random place and in a random colour."""
    y, x = np.mgrid[:24, :24]
    cy, cx = rng.integers(8, 16, 2)
    mask = (y - cy) ** 2 + (x - cx) ** 2 < 40 if kind == 0 else (x + cx) % 6 < 3
    colour, ground = rng.integers(0, 256, (2, 3))
    noise = rng.integers(-20, 20, (24, 24, 3))
    pixels = np.where(mask[..., None], colour, ground) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for kind, name in enumerate(CLASSES):
        (root / name).mkdir()
        for i in range(40):
            picture(kind, rng).save(root / name / f"{i}.png")
    return root


QUICK = ("--steps", "4", "--batch-size", "16", "--projector", "16", "8", "--precision", "float32")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "x"
    main(["pretrain", str(folder), "--out", str(out), *QUICK])
    return out


def test_pretrain_leaves_a_judged_encoder_and_a_page(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["data"]["images"] == 80
    assert record["data"]["classes"] == list(CLASSES)
    evaluation = json.loads((run / "evaluation.json").read_text())
    subjects = {result["subject"] for result in evaluation["results"]}
    assert subjects == {"trained", "raw pixels", "untrained encoder"}
    assert "<svg" in (run / "index.html").read_text()
    assert (run / "pictures" / "atlas.npz").is_file()


def test_the_test_split_is_never_trained_on(run: Path) -> None:
    splits = json.loads((run / "splits.json").read_text())
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["trained_on"] == len(splits["train"]) + len(splits["validation"])
    assert not {*splits["train"], *splits["validation"]} & {*splits["test"]}


def test_load_takes_bytes_and_floats_of_any_batch_size(run: Path) -> None:
    encoder = coview.load(run)
    pixels = torch.randint(0, 256, (5, 3, 24, 24), dtype=torch.uint8)
    h = encoder(pixels)
    torch.testing.assert_close(encoder(pixels / 255), h)
    torch.testing.assert_close(encoder(pixels[:1]), h[:1])
    assert not encoder.training


def test_evaluate_with_a_table_of_labels(run: Path, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    rows = [f"{name},{'even' if int(Path(name).stem) % 2 else 'odd'}" for name in files]
    table.write_text("\n".join(["file,label", *rows]))
    judgement = coview.evaluate(run, folder, labels=table, draws=2)
    assert judgement.classes == ("even", "odd")
    main(["evaluate", str(run), "--labels", str(table), "--draws", "2"])


def test_evaluate_a_module_on_train_and_test_arrays() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 100, (60, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(60) % 2
    pixels[labels == 1, :4] += 100
    judgement = coview.evaluate(
        torch.nn.Flatten(), train=(pixels[:40], labels[:40]), test=(pixels[40:], labels[40:])
    )
    assert judgement.split["test"] == 20
    linear = [r for r in judgement.results if r.probe == "linear"]
    assert {r.subject for r in linear} == {"trained", "raw pixels"}
    assert all(r.accuracy == 1 for r in linear)


def _striped(images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 100, (images, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(images) % 2
    pixels[labels == 1, :4] += 100
    return pixels, labels


class _Scaled(torch.nn.Module):
    """Weights that no layer can draw anew."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().flatten(1) * self.scale


class _Own(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(images.float())).mean((2, 3))


def test_a_module_of_ones_own_is_judged_beside_its_untrained_self() -> None:
    own = _Own()
    torch.nn.init.zeros_(own.conv.weight)  # as good as blind: the random one must beat it
    torch.nn.init.zeros_(own.conv.bias)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    judgement = coview.evaluate(own, _striped(200), draws=2)
    accuracy = {r.subject: r.accuracy for r in judgement.results if r.probe == "linear"}
    assert accuracy["untrained encoder"] > accuracy["trained"] + 0.2
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


def test_a_module_that_cannot_be_drawn_anew_is_said() -> None:
    with pytest.warns(UserWarning, match=r"_Scaled.*no reset_parameters"):
        judgement = coview.evaluate(_Scaled(), _striped(200), draws=2)
    assert {r.subject for r in judgement.results} == {"trained", "raw pixels"}


def test_train_and_test_keep_their_groups() -> None:
    pixels, labels = _striped(200)
    parts = [
        coview.data.open(pixels[rows], labels=labels[rows], groups=rows // 4)
        for rows in np.split(np.arange(200), [120])
    ]
    judgement = coview.evaluate(torch.nn.Flatten(), train=parts[0], test=parts[1], draws=2)
    assert judgement.split["disjoint_by"] == "group"
    assert "groups" in judgement.settings["interval"]


def test_embed(run: Path, folder: Path, tmp_path: Path) -> None:
    path = coview.embed(run, folder, tmp_path / "e.npz", neighbours=3)
    arrays = np.load(path)
    assert arrays["representation"].shape == (80, coview.load(run).dim)
    assert set(arrays["label"]) == set(CLASSES)
    assert arrays["neighbours"].shape == (80, 3)
    assert all(
        name not in near for name, near in zip(arrays["name"], arrays["neighbours"], strict=True)
    )
    unit = arrays["representation"] / np.linalg.norm(arrays["representation"], axis=1)[:, None]
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -1)
    np.testing.assert_allclose(arrays["similarities"][:, 0], similarity.max(1), rtol=1e-4)


def test_embed_parquet(run: Path, folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = coview.embed(run, folder, tmp_path / "e.parquet")
    table = parquet.read_table(path)
    assert table.column_names == [
        "name",
        "representation",
        "label",
        "neighbours",
        "similarities",
    ]
    assert table.num_rows == 80
    with pytest.raises(FileExistsError, match="exists"):
        coview.embed(run, folder, path)


def test_continued_pretraining_is_judged_beside_its_start(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "more"
    weights = str(run / "encoder.safetensors")
    main(["pretrain", str(folder), "--out", str(out), "--weights", weights, *QUICK])
    results = json.loads((out / "evaluation.json").read_text())["results"]
    assert "starting weights" in {result["subject"] for result in results}


def test_unlabelled_images_give_a_page_without_judgement(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    main(["pretrain", str(folder / "disc"), "--out", str(out), *QUICK])
    assert (out / "index.html").is_file()
    assert not (out / "evaluation.json").exists()
    with pytest.raises(SystemExit):
        main(["evaluate", str(out)])


def _text_named_png(root: Path) -> list[str]:
    (root / "a.png").write_text("not a picture")
    return [str(root)]


def _differing_arrays(root: Path) -> list[str]:
    for channels in (4, 5):
        np.save(root / f"{channels}.npy", np.zeros((8, 8, channels), np.uint8))
    return [str(root)]


BAD: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "wrong path": (lambda root: [str(root / "nowhere")], "nowhere"),
    "empty folder": (lambda root: [str(root)], "no image"),
    "text named png": (_text_named_png, "a.png"),
    "channels differ": (_differing_arrays, "channels"),
    "unknown objective": (lambda _: ["sample", "--objective", "nt_xnet"], "nt_xent"),
    "unknown parameter": (
        lambda _: ["nowhere", "--objective", "minc:decay=.9"],  # before the images are looked for
        "minc has no parameter 'decay'; it has batch_weight, memory, carried, normalization, scale",
    ),
    "no parameters": (
        lambda _: ["sample", "--objective", "byol:heat=1"],
        "byol has no parameter 'heat'; it has none",
    ),
    "unknown views": (lambda _: ["sample", "--views", "simcrl"], "simclr"),
    "unknown encoder": (lambda _: ["sample", "--encoder", "resnet81"], "resnet18"),
    "zero epochs": (lambda _: ["sample", "--epochs", "0"], "epochs must be above 0"),
    "missing weights": (lambda _: ["sample", "--weights", "none.pt"], "none.pt"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = BAD[case]
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", *arguments(source), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["disc/0.png,a", "disc/999.png,b"], "999.png"),
        (["disc/0.png,a", "disc/0.png,b"], "disc/0.png"),
        (["disc/0.png,a"], "disc/1.png"),
    ],
    ids=["unknown", "duplicate", "missing"],
)
def test_bad_tables_name_the_file(
    rows: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,label", *rows]))
    with pytest.raises(SystemExit):
        main(["pretrain", str(folder), "--labels", str(table), "--out", str(tmp_path / "x")])
    assert message in capsys.readouterr().err


def test_one_class_cannot_be_judged(run: Path, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.png")]
    table.write_text("\n".join(["file,label", *[f"{name},only" for name in files]]))
    with pytest.raises(ValueError, match="one class, 'only'"):
        coview.evaluate(run, folder, labels=table)


def test_a_truncated_picture_is_skipped_and_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for i in range(24):
        Image.open(folder / "disc" / f"{i}.png").save(source / f"{i}.jpg")
    whole = (source / "7.jpg").read_bytes()
    (source / "7.jpg").write_bytes(whole[: len(whole) // 2])
    main(["pretrain", str(source), "--out", str(tmp_path / "x"), *QUICK])
    assert "1 files could not be read" in capsys.readouterr().err
    skipped = [json.loads(line) for line in (tmp_path / "x/skipped.jsonl").read_text().splitlines()]
    assert [row["name"] for row in skipped] == ["7.jpg"]


def test_doctor() -> None:
    report = coview.doctor(speed=False)
    assert report["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert report["precision"] in ("bfloat16", "float32")


@pytest.mark.filterwarnings("ignore:batch_size 16 is shrunk")
def test_a_tiny_labelled_folder_still_gets_its_encoder_and_page(
    folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    for name in CLASSES:
        (source / name).mkdir(parents=True)
        for i in range(4):
            Image.open(folder / name / f"{i}.png").save(source / name / f"{i}.png")
    with pytest.warns(Warning, match=r"not judged|held out"):
        main(["pretrain", str(source), "--out", str(tmp_path / "x"), *QUICK])
    assert (tmp_path / "x" / "index.html").is_file()
    assert coview.load(tmp_path / "x").dim > 0


def test_the_page_says_when_test_images_were_seen(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    main(["pretrain", str(folder), "--labels", "none", "--out", str(out), *QUICK])
    table = tmp_path / "labels.csv"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    table.write_text("\n".join(["file,label", *[f"{f},{f.split('/')[0]}" for f in files]]))
    main(["evaluate", str(out), "--labels", str(table), "--draws", "2"])
    assert json.loads((out / "evaluation.json").read_text())["test_images_seen_in_training"]
    assert "seen in pretraining, without their labels" in (out / "index.html").read_text()


def test_groups_are_not_claimed_for_a_split_that_divides_them(run: Path, folder: Path) -> None:
    groups = np.arange(80) // 8
    judgement = coview.evaluate(run, folder, groups=groups, draws=2)
    assert judgement.split["disjoint_by"] == "group"
    splits = json.loads((run / "splits.json").read_text())
    held = coview.data.Splits(**{name: np.asarray(rows) for name, rows in splits.items()})
    judgement = coview.evaluate(run, folder, groups=groups, splits=held, draws=2)
    assert judgement.split["disjoint_by"] is None


def test_evaluate_knows_the_table_that_the_run_was_given(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    table.write_text("\n".join(["file,label", *[f"{f},k{i % 2}" for i, f in enumerate(files)]]))
    out = tmp_path / "x"
    main(["pretrain", str(folder), "--labels", str(table), "--out", str(out), *QUICK])
    assert coview.evaluate(out, draws=2).classes == ("k0", "k1")


def test_an_interruption_says_how_to_go_on(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        stopped = KeyboardInterrupt()
        stopped.add_note("the same command goes on with it")
        raise stopped

    monkeypatch.setattr(coview, "tune_views", interrupted, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["views", "tune", str(folder), "--out", str(tmp_path / "tune")])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "the same command goes on with it\n"
