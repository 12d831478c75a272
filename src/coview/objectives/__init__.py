"""Objectives: losses of embeddings.

Each is a pure function of embeddings [view batch dim] and a frozen config that a training loop can
call. Networks, optimisers and processes' start-up are elsewhere. Read `contract` first, then any
family (`contrastive`, `spectral`, `vicreg`, `minc`), then `table`.
"""

from coview.objectives.contract import (
    Loss,
    Needs,
    Objective,
    Predictive,
    Stateless,
    Statistics,
    Symmetric,
)
from coview.objectives.contrastive import NTXent, NTXentTerms, nt_xent, nt_xent_terms
from coview.objectives.minc import MINC, MINCTerms, minc, minc_terms
from coview.objectives.spec import (
    Constant,
    Cost,
    Family,
    Invariance,
    KnownPoint,
    ObjectiveSpec,
)
from coview.objectives.spectral import (
    SpectralContrastive,
    SpectralTerms,
    spectral_contrastive,
    spectral_terms,
)
from coview.objectives.table import TABLE, get, index, names, resolve
from coview.objectives.vicreg import VICReg, VICRegTerms, vicreg, vicreg_terms

__all__ = [
    "MINC",
    "TABLE",
    "Constant",
    "Cost",
    "Family",
    "Invariance",
    "KnownPoint",
    "Loss",
    "MINCTerms",
    "NTXent",
    "NTXentTerms",
    "Needs",
    "Objective",
    "ObjectiveSpec",
    "Predictive",
    "SpectralContrastive",
    "SpectralTerms",
    "Stateless",
    "Statistics",
    "Symmetric",
    "VICReg",
    "VICRegTerms",
    "get",
    "index",
    "minc",
    "minc_terms",
    "names",
    "nt_xent",
    "nt_xent_terms",
    "resolve",
    "spectral_contrastive",
    "spectral_terms",
    "vicreg",
    "vicreg_terms",
]
