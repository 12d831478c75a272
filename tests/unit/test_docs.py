"""The atlas: what is generated for a row, present or future."""

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs/_ext"))

import atlas  # noqa: E402
from atlas.bibliography import read_bibliography  # noqa: E402
from atlas.calls import call  # noqa: E402
from atlas.examples import command, example, output_of, settings_of  # noqa: E402
from atlas.field import Field, points  # noqa: E402
from atlas.notes import arguments_of, notes_of  # noqa: E402
from atlas.page import objective_page  # noqa: E402
from atlas.tree import by_family, parent_of, tree_svg  # noqa: E402
from written import write_folder  # noqa: E402

from coview.objectives import TABLE, Constant, KnownPoint  # noqa: E402

SECTIONS = (
    "Formula", "Gradient field", "Use", "Promises", "Known points", "Convention and constants",
    "Cost", "References",
)  # fmt: skip
ROWS = ("nt_xent", "vicreg", "minc")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_makes_a_page_and_pictures(name):
    spec = TABLE[name]
    files = atlas.files(spec)
    page = files[f"{name}.md"]
    assert re.findall("^## (.+)$", page, re.MULTILINE) == list(SECTIONS)
    assert spec.formula in page
    assert spec.idea in page
    for constant in spec.ledger:
        assert constant.name in page
    for key in spec.citations:
        assert read_bibliography()[key].fields["title"].replace("{", "") in page
    for kind in ("arrows", "course"):
        assert f":file: {name}-{kind}.svg" in page
        assert files[f"{name}-{kind}.svg"].startswith("<svg")
    assert files[f"{name}-arrows.svg"].count('class="head"') >= 6


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_row_has_an_example_that_runs_and_values_that_hold(name):
    spec = TABLE[name]
    assert output_of(example(spec)).startswith("total ")
    assert command(spec).startswith(f"coview pretrain ./images --objective {name}")
    page = objective_page(spec, TABLE, read_bibliography(), "not drawn")
    assert re.findall("^## (.+)$", page, re.MULTILINE) == list(SECTIONS)
    assert "No picture: on a few points of the plane there is no value (not drawn)" in page


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_setting_of_a_row_has_a_meaning(name):
    page = objective_page(TABLE[name], TABLE, read_bibliography(), "not drawn")
    settings = re.findall(r"^\| `(\w+)` \| `.*` \| (.*) \|$", page, re.MULTILINE)
    assert [setting for setting, _ in settings] == list(settings_of(TABLE[name].config()))
    assert [setting for setting, meaning in settings if not meaning.strip()] == []


def test_the_arrows_go_downhill():
    for name in ROWS[:2]:
        objective = TABLE[name].config()
        shown = atlas.picture(TABLE[name])
        assert isinstance(shown, Field)
        before = call(objective, shown.z).total
        small = 1e-4 / shown.descent.norm()
        assert call(objective, shown.z + small * shown.descent).total < before
        assert call(objective, shown.z - small * shown.descent).total > before
        assert call(objective, shown.course[-1]).total < before


def test_a_row_without_value_on_few_points_says_so():
    class Fails:
        def __getattr__(self, name):
            return getattr(TABLE["vicreg"].config(), name)

        def __call__(self, z, *_, **__):
            raise ValueError(f"z must hold 100 images; got {z.shape[1]}")

    assert atlas.picture(replace(TABLE["vicreg"], config=Fails)) == "z must hold 100 images; got 24"


def test_a_wrong_known_point_is_found():
    wrong = KnownPoint(name="wrong", embeddings=lambda n, d: points(2, n), value=lambda *_: 7.0)
    spec = replace(TABLE["vicreg"], known_points=(wrong,))
    with pytest.raises(ValueError, match=r"vicreg: wrong: stated 7\.0"):
        objective_page(spec, TABLE, read_bibliography(), "")


def test_a_missing_citation_is_found():
    spec = replace(TABLE["vicreg"], citations=("nobody1999",))
    with pytest.raises(ValueError, match="nobody1999"):
        objective_page(spec, TABLE, read_bibliography(), "")


def test_cells_keep_the_bars_of_norms():
    constant = Constant(name="norm", source="|z|", ours="2|z|", why="so", factor=2.0)
    spec = replace(TABLE["vicreg"], ledger=(constant,))
    page = objective_page(spec, TABLE, read_bibliography(), "")
    assert r"| norm | \|z\| | 2\|z\| | 2 | so |" in page


def test_the_tree_has_every_row_once_and_variants_below_what_they_vary():
    new = replace(TABLE["vicreg"], name="vicreg_new")
    table = {"vicreg": TABLE["vicreg"], "minc": TABLE["minc"], "vicreg_new": new}
    assert parent_of(new, table) is TABLE["vicreg"]
    assert parent_of(TABLE["vicreg"], table) is None
    order = [row.name for row in by_family(table)["dimension-contrastive"]]
    assert order == ["vicreg", "vicreg_new"]
    drawn = tree_svg(TABLE, read_bibliography())
    for name in TABLE:
        assert drawn.count(f'href="{name}.html"') == 1


def test_bibliography():
    works = read_bibliography()
    assert works["chen2020simclr"].short == "Chen et al. 2020"
    assert works["chen2021simsiam"].short == "Chen and He 2021"
    assert works["grill2020byol"].markdown().startswith("Grill, Strub, Altché et al. (2020).")
    assert {key for spec in TABLE.values() for key in spec.citations} <= set(works)


def test_an_open_entry_is_an_error(tmp_path):
    file = tmp_path / "some.bib"
    file.write_text("@misc{one,\n  title = {Open},\n")
    with pytest.raises(ValueError, match="one"):
        read_bibliography(file)


def test_docstrings_are_taken_apart():
    def function():
        """Do.

        Args:
            first: One
                and a half.
            second: Two.

        Convention: Ours
            is theirs.
        Numerics: Fine.
        """

    def told(width, other=1):
        """Do. The queue holds `width` rows. `other` is `width` again, `unknown` is not."""

    assert arguments_of(told) == {
        "width": "The queue holds `width` rows.",
        "other": "`other` is `width` again, `unknown` is not.",
    }
    assert notes_of(function) == {"Convention": "Ours is theirs.", "Numerics": "Fine."}
    assert arguments_of(function) == {"first": "One and a half.", "second": "Two."}


def test_a_folder_is_written_whole_and_only_where_it_changed(tmp_path):
    write_folder(tmp_path / "made", {"a.md": "1", "b/c.md": "2"})
    kept = (tmp_path / "made/a.md").stat().st_mtime_ns
    write_folder(tmp_path / "made", {"a.md": "1", "d.md": "3"})
    assert (tmp_path / "made/a.md").stat().st_mtime_ns == kept
    assert sorted(path.name for path in (tmp_path / "made").rglob("*.md")) == ["a.md", "d.md"]


def test_broken_links_are_found(tmp_path):
    check = runpy.run_path(str(ROOT / "scripts/check_links.py"))["broken_links"]
    (tmp_path / "other.html").write_text('<p id="here">')
    (tmp_path / "page.html").write_text(
        '<a href="other.html#here"><a href="other.html#gone"><img src="no.png">'
        '<a href="https://example.org/no"><a href="#top"><p id="top">'
    )
    assert check(tmp_path) == ["page.html: other.html#gone", "page.html: no.png"]
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "empty")


def test_the_notation_page_explains_the_symbols_of_formulas():
    page = (ROOT / "docs/reference/notation.md").read_text()
    greek = (
        r"\\((?:var)?(?:alpha|beta|gamma|delta|epsilon|eta|theta|lambda|mu|rho|sigma|tau|phi))\b"
    )
    symbols = set(re.findall(greek, "".join(spec.formula for spec in TABLE.values())))
    assert symbols
    assert [symbol for symbol in symbols if f"\\{symbol}" not in page] == []


def test_the_choice_of_objectives_names_only_rows():
    page = (ROOT / "docs/howto/choose-objective.md").read_text()
    named = set(re.findall(r"--objective (\w+)", page)) | {"vicreg", "spectral_contrastive"}
    assert named <= set(TABLE)
