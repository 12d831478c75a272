"""The table, names, and what goes where a name goes."""

from typing import get_args

import pytest

from coview.objectives import TABLE, Invariance, NTXent, VICReg, get, index, names, resolve
from coview.testing.objectives import INVARIANCES
from imports import loaded


def test_rows():
    assert set(names()) >= {"nt_xent", "spectral_contrastive", "vicreg", "minc"}
    assert [name for name, spec in TABLE.items() if spec.provisional] == ["minc"]
    for name, spec in TABLE.items():
        assert spec.name == name
        assert spec.citations
        assert spec.known_points
        assert spec.ledger


def test_table_is_read_only():
    with pytest.raises(TypeError):
        TABLE["other"] = TABLE["minc"]  # type: ignore[index]


def test_duplicates_raise():
    with pytest.raises(ValueError, match="'minc'"):
        index([TABLE["minc"], TABLE["vicreg"], TABLE["minc"]])


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("nt_xnet", "nt_xent"), ("VICReg", "vicreg"), ("spectral_contrast", "spectral_contrastive")],
)
def test_unknown_name_gets_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        get(wrong)


def test_name_unlike_any_lists_all():
    with pytest.raises(ValueError, match=", ".join(names())):
        get("zzz")


def test_resolve():
    assert resolve("vicreg") == VICReg()
    own = NTXent(temperature=0.3)
    assert resolve(own) is own


@pytest.mark.parametrize("wrong", [VICReg, 3, object()])
def test_resolve_rejects_other_things(wrong):
    with pytest.raises(TypeError):
        resolve(wrong)


def test_every_invariance_can_be_tried():
    assert set(INVARIANCES) == set(get_args(Invariance))


def test_import_is_light():
    """Torch and its own needs apart, importing the objectives loads nothing heavy."""
    found = loaded("import coview.objectives")
    assert "coview" in found
    assert not found & {"matplotlib", "sklearn", "timm", "torchvision", "scipy", "PIL", "pytest"}


def test_methods_are_known_by_their_names_too() -> None:
    assert get("simclr") is get("nt_xent")
    assert get("spectral") is get("spectral_contrastive")
