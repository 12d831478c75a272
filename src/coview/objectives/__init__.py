"""Objectives: losses of embeddings.

Each is a pure function of embeddings [view batch dim] and a frozen config that a training loop can
call. Networks, optimisers and processes' start-up are elsewhere. Read `contract` first, then any
family (`contrastive`, `spectral`, `vicreg`, `minc`), then `table`.
"""

from coview.objectives.alignment_uniformity import (
    AlignmentUniformity,
    alignment,
    alignment_uniformity,
    uniformity,
)
from coview.objectives.barlow_twins import (
    BarlowTwins,
    BarlowTwinsTerms,
    barlow_twins,
    barlow_twins_terms,
)
from coview.objectives.coding_rate import (
    CodingRate,
    CodingRateTerms,
    coding_rate,
    coding_rate_terms,
)
from coview.objectives.contract import (
    Loss,
    Needs,
    Objective,
    Predictive,
    Stateless,
    Statistics,
    Symmetric,
    Targets,
    buffer_of,
)
from coview.objectives.contrastive import (
    DecoupledNTXent,
    NTXent,
    NTXentTerms,
    SupCon,
    decoupled_nt_xent,
    decoupled_nt_xent_terms,
    nt_xent,
    nt_xent_terms,
    supervised_contrastive,
    supervised_contrastive_terms,
)
from coview.objectives.criteria import (
    dimension_contrastive_criterion,
    doubly_normalized,
    duality_gap,
    sample_contrastive_criterion,
)
from coview.objectives.f_micl import FMICL, FMICLTerms, f_micl, f_micl_terms
from coview.objectives.inputs import (
    check_bool,
    check_count,
    check_positive,
    check_range,
    check_two_views,
    check_views,
    full_precision,
    total_images,
)
from coview.objectives.interpolation import INTERPOLATIONS, Interpolation
from coview.objectives.memory import Crosswise, InfoNCE, InstanceDiscrimination, info_nce
from coview.objectives.minc import MINC, MINCTerms, minc, minc_terms
from coview.objectives.prediction import (
    BYOL,
    LinearBYOL,
    SimSiam,
    byol,
    least_squares_predictor,
    linear_byol,
    simsiam,
)
from coview.objectives.rows import unit_rows
from coview.objectives.sigreg import (
    SIGReg,
    SIGRegTerms,
    random_directions,
    sigreg,
    sigreg_terms,
)
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
from coview.objectives.vicreg_variants import (
    VICRegCtr,
    VICRegExp,
    vicreg_ctr,
    vicreg_ctr_terms,
    vicreg_exp,
    vicreg_exp_terms,
)
from coview.objectives.whitening_mse import WhiteningMSE, whiten, whitening_mse

__all__ = [
    "BYOL",
    "FMICL",
    "INTERPOLATIONS",
    "MINC",
    "TABLE",
    "AlignmentUniformity",
    "BarlowTwins",
    "BarlowTwinsTerms",
    "CodingRate",
    "CodingRateTerms",
    "Constant",
    "Cost",
    "Crosswise",
    "DecoupledNTXent",
    "FMICLTerms",
    "Family",
    "InfoNCE",
    "InstanceDiscrimination",
    "Interpolation",
    "Invariance",
    "KnownPoint",
    "LinearBYOL",
    "Loss",
    "MINCTerms",
    "NTXent",
    "NTXentTerms",
    "Needs",
    "Objective",
    "ObjectiveSpec",
    "Predictive",
    "SIGReg",
    "SIGRegTerms",
    "SimSiam",
    "SpectralContrastive",
    "SpectralTerms",
    "Stateless",
    "Statistics",
    "SupCon",
    "Symmetric",
    "Targets",
    "VICReg",
    "VICRegCtr",
    "VICRegExp",
    "VICRegTerms",
    "WhiteningMSE",
    "alignment",
    "alignment_uniformity",
    "barlow_twins",
    "barlow_twins_terms",
    "buffer_of",
    "byol",
    "check_bool",
    "check_count",
    "check_positive",
    "check_range",
    "check_two_views",
    "check_views",
    "coding_rate",
    "coding_rate_terms",
    "decoupled_nt_xent",
    "decoupled_nt_xent_terms",
    "dimension_contrastive_criterion",
    "doubly_normalized",
    "duality_gap",
    "f_micl",
    "f_micl_terms",
    "full_precision",
    "get",
    "index",
    "info_nce",
    "least_squares_predictor",
    "linear_byol",
    "minc",
    "minc_terms",
    "names",
    "nt_xent",
    "nt_xent_terms",
    "random_directions",
    "resolve",
    "sample_contrastive_criterion",
    "sigreg",
    "sigreg_terms",
    "simsiam",
    "spectral_contrastive",
    "spectral_terms",
    "supervised_contrastive",
    "supervised_contrastive_terms",
    "total_images",
    "uniformity",
    "unit_rows",
    "vicreg",
    "vicreg_ctr",
    "vicreg_ctr_terms",
    "vicreg_exp",
    "vicreg_exp_terms",
    "vicreg_terms",
    "whiten",
    "whitening_mse",
]
