"""Labels and groups from subfolders, CSVs and arrays."""

import numpy as np
import pytest
from PIL import Image

import coview.data
from coview.data.labels import encode_groups, encode_labels, folder_labels


def make(folder, names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(path)


FILES = ("a/1.png", "a/2.png", "b/3.png")


@pytest.fixture
def folder(tmp_path):
    make(tmp_path / "images", FILES)
    return tmp_path / "images"


def table(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def by_name(dataset):
    return {
        name: dataset.classes[label] if label >= 0 else None
        for name, label in zip(dataset.names, dataset.labels, strict=True)
    }


def test_subfolders_are_classes(folder):
    dataset = coview.data.open(folder)
    assert dataset.classes == ("a", "b")
    assert by_name(dataset) == {"a/1.png": "a", "a/2.png": "a", "b/3.png": "b"}
    assert dataset.groups is None
    assert coview.data.open(folder, labels=None).labels is None


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("a/x/1.png", "a/y/2.png", "b/x/3.png"), ("a", "b")),
        (("Data/a/1.png", "Data/b/2.png"), ("a", "b")),
        (("train/a/1.png", "train/b/2.png", "test/a/3.png"), ("a", "b")),
        (("10/1.png", "9/2.png", "x/3.png"), ("9", "10", "x")),
        (("1.png", "a/2.png", "b/3.png"), None),
        (("a/1.png", "a/2.png"), None),
        (("1.png", "2.png"), None),
        (("train/1.png", "test/2.png"), None),
    ],
)
def test_which_folders_are_classes(names, classes):
    labels = folder_labels(names)
    assert (labels and labels.classes) == classes


def test_folders_as_groups(tmp_path):
    make(tmp_path, ["a/p1/1.png", "a/p1/2.png", "a/p2/3.png", "b/p1/4.png"])
    dataset = coview.data.open(tmp_path, groups="folders")
    assert dataset.classes == ("a", "b")
    np.testing.assert_array_equal(dataset.groups, [0, 0, 1, 2])
    with pytest.raises(ValueError, match="groups must be 'folders'"):
        coview.data.open(tmp_path, groups="subfolders")


def test_csv(folder, tmp_path):
    path = table(tmp_path, "\ufefffile, label,group\nb/3.png,z,u\na/1.png,y,v\na\\2.png,z,u\n")
    dataset = coview.data.open(folder, labels=str(path))
    assert by_name(dataset) == {"a/1.png": "y", "a/2.png": "z", "b/3.png": "z"}
    np.testing.assert_array_equal(dataset.groups, [1, 0, 0])


def test_an_empty_label_in_a_csv_means_unlabelled(folder, tmp_path):
    path = table(tmp_path, "file,label\na/1.png,y\na/2.png, \nb/3.png,\n")
    dataset = coview.data.open(folder, labels=path)
    assert by_name(dataset) == {"a/1.png": "y", "a/2.png": None, "b/3.png": None}


def test_csv_without_some_rows(folder, tmp_path):
    path = table(tmp_path, "file,label\na/1.png,y\na/2.png,\n")
    message = r"1 images without a row \(give them one with an empty label; .*\): b/3\.png$"
    with pytest.raises(ValueError, match=message):
        coview.data.open(folder, labels=path)
    dataset = coview.data.open(folder, labels=path, missing_labels="unlabelled")
    assert by_name(dataset) == {"a/1.png": "y", "a/2.png": None, "b/3.png": None}


def test_csv_rows_of_broken_files_are_known(folder, tmp_path):
    (folder / "a/0.png").write_text("text")
    rows = "".join(f"{name},{name[2]},{name[2]}\n" for name in ("a/0.png", *FILES))
    path = table(tmp_path, "file,label,group\n" + rows)
    dataset = coview.data.open(folder, labels=path, max_broken=0.5)
    assert by_name(dataset) == {"a/1.png": "1", "a/2.png": "2", "b/3.png": "3"}
    np.testing.assert_array_equal(dataset.groups, [1, 2, 3])


COMPLETE = "a/1.png,y,g\na/2.png,y,g\nb/3.png,z,g\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"file,label,group\n{COMPLETE}c/4.png,z,g\n", r"1 files .* not among .*: c/4\.png"),
        (f"file,label,group\n{COMPLETE}a/1.png,y,g\n", r"1 files named twice: a/1\.png"),
        ("file,label\na/1.png,y\nb/3.png,z\n", r"1 images without a row .*: a/2\.png"),
        (f"path,label,group\n{COMPLETE}", "columns must be file,label"),
        (f"file,label,Group\n{COMPLETE}", r"columns must be .* not \['file', 'label', 'Group'\]"),
        ("file;label\na/1.png;y\n", "columns must be"),
        ("", "columns must be"),
        ("file,label\na/1.png\n", "row 2 has not 2 columns"),
        ("file,label\na/1.png,y,z\n", "row 2 has not 2 columns"),
        ("file,label,group\na/1.png,y,\na/2.png,y,g\nb/3.png,z,g\n", r"without a group: a/1\.png"),
        ("file,label\n", r"3 images without a row .*: a/1\.png, a/2\.png, b/3\.png$"),
    ],
)
def test_csv_that_does_not_fit(folder, tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        coview.data.open(folder, labels=table(tmp_path, text))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_csv_in_another_encoding_is_named(folder, tmp_path, encoding):
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na/1.png,für\n", encoding=encoding)
    with pytest.raises(ValueError, match=r"labels\.csv: not UTF-8"):
        coview.data.open(folder, labels=path)


def test_missing_csv_and_option(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no label file"):
        coview.data.open(folder, labels="nowhere.csv")


def test_csv_for_an_array(tmp_path):
    path = table(tmp_path, "file,label\n1,y\n0,z\n")
    dataset = coview.data.open(np.zeros((2, 8, 8), np.uint8), labels=path)
    assert by_name(dataset) == {"0": "z", "1": "y"}


@pytest.mark.parametrize(
    ("values", "numbers", "classes"),
    [
        ([0, 2, 1], [0, 2, 1], ("0", "1", "2")),
        ([7, -1, 3], [1, -1, 0], ("3", "7")),
        (np.array([[1.0], [0.0], [1.0]]), [1, 0, 1], ("0", "1")),
        (["b", "", "a"], [1, -1, 0], ("a", "b")),
        (np.array([True, False, True]), [1, 0, 1], ("0", "1")),
        ([-1, -1, -1], [-1, -1, -1], ()),
    ],
)
def test_label_arrays(values, numbers, classes):
    labels = encode_labels(values, 3)
    np.testing.assert_array_equal(labels.values, numbers)
    assert labels.classes == classes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1], r"one an image: shape \(2,\) for 3"),
        (np.eye(3), r"shape \(3, 3\)"),
        ([0.5, 1.0, 2.0], "whole numbers"),
        ([0, -2, 1], "-1 .unlabelled. or more, not -2"),
        ([0.0, float("nan"), 1.0], "whole numbers"),
    ],
)
def test_label_arrays_that_do_not_fit(values, message):
    with pytest.raises(ValueError, match=message):
        encode_labels(np.asarray(values), 3)


def test_group_arrays():
    np.testing.assert_array_equal(encode_groups(["q", "p", "q"], 3), [1, 0, 1])
    for values in ([1, 2], [0.5, 1.0, 2.0]):
        with pytest.raises(ValueError, match="groups must be"):
            encode_groups(np.asarray(values), 3)


def test_check_labels():
    check = coview.data.check_labels
    check(np.array([0, 1, -1]), ("a", "b"))
    with pytest.raises(ValueError, match="one class, 'a'"):
        check(np.array([0, 0]), ("a",))
    with pytest.raises(ValueError, match="test split has no image of class b, c"):
        check(np.array([0, 0, 3]), ("a", "b", "c", "d"), "test split")
    for nothing in (None, np.array([-1, -1])):
        with pytest.raises(ValueError, match="no labels"):
            check(nothing, ("a", "b"))
