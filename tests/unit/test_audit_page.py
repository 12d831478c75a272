"""What the audit's page says, from records alone."""

import pytest

from coview.pages.audit_page import doubts, headline, sentence, write_audit_page


def removed(nats, error=0.01, *, at_least=False):
    edges = [nats - 1.96 * error, nats + 1.96 * error]
    return {"nats": nats, "standard_error": error, "interval": edges, "at_least": at_least}


def row(name, alone, left_out, *, share=0.0, readable=()):
    return {
        "name": name,
        "alone": alone,
        "left_out": left_out,
        "share_of_time": share,
        "microseconds": 1.0,
        "readable": [{"parameter": p, "readable": r} for p, r in readable],
    }


def test_the_headline_names_the_two_that_remove_most():
    rows = [
        row("crop", removed(0.4, at_least=True), removed(2.26)),
        row("jitter", removed(1.51), removed(1.49)),
        row("flip", removed(0.3), removed(0.2)),
    ]
    assert headline(rows) == "Crop removes most, 2.3 nats; then colour jitter, 1.5 nats."
    rows[1]["alone"] = removed(1.9, at_least=True)
    assert headline(rows[1:]).startswith("Colour jitter removes most, 1.5 to at least 1.9 nats;")
    assert headline([row("flip", removed(0.01), removed(0.3, 0.2))]) == (
        "No operation removes anything that could be measured."
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            row("blur", removed(0.0), removed(0.01), share=0.14),
            "Leaving out blur changes nothing that could be measured; it takes 14 % of the time.",
        ),
        (
            row("grayscale", removed(0.5), removed(0.0)),
            "Grayscale removes 0.50 nats alone, but nothing beside the others.",
        ),
        (
            row("jitter", removed(1.0), removed(0.8), readable=[("applied", 0.2), ("hue", 0.62)]),
            "Colour jitter removes 0.80 nats beside the others; yet its hue can still be read from "
            "the representation (62 %).",
        ),
        (row("jitter", removed(1.0), removed(0.8), readable=[("hue", 0.2)]), None),
        (
            row("flip", removed(0.0, at_least=True), removed(0.0, at_least=True)),
            "Flip: with or without it, the views share all that can be measured with this many "
            "images.",
        ),
        (
            row("flip", removed(0.0), removed(-0.2)),
            "Flip: without it the critic finds 0.20 nats less, though an operation can only "
            "remove: its own error is of that size.",
        ),
        (
            row("randaugment", removed(0.0), removed(0.0)),
            "Leaving out RandAugment changes nothing that could be measured.",
        ),
    ],
    ids=["nothing", "redundant", "readable", "plain", "ceiling", "negative", "name"],
)
def test_a_sentence_says_what_is_notable(given, expected):
    found = sentence(given)
    assert (found and found.replace("\N{NO-BREAK SPACE}", " ")) == expected


def test_a_critic_that_finds_little_is_doubted():
    crop = {"nats": 0.55, "standard_error": 0.1, "warnings": []}
    record = {"whole": "crop", "variants": {"crop": crop}}
    assert "only 0.55 nats" in doubts(record)[0]
    record["variants"]["crop"]["nats"] = 0.8
    assert doubts(record) == []


def test_warnings_of_a_set_of_operations_are_told():
    known = {"nats": 2.0, "standard_error": 0.1}
    variants = {
        "nothing": known | {"warnings": ["saturated: all", "few images: so"]},
        "crop": known | {"warnings": ["few images: so", "the error is above 1 nat: vague"]},
    }
    assert doubts({"whole": "crop", "variants": variants}) == [
        "Few images (for every set of operations).",
        "The error is above 1 nat (for crop).",
    ]


def test_a_folder_without_an_audit_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a finished audit"):
        write_audit_page(tmp_path)
    (tmp_path / "audit.json").write_text('{"status": "running", "format": 1}')
    with pytest.raises(FileNotFoundError, match="not a finished audit"):
        write_audit_page(tmp_path)
    (tmp_path / "audit.json").write_text('{"status": "finished", "format": 9}')
    with pytest.raises(ValueError, match="format 9"):
        write_audit_page(tmp_path)
