"""Our studies by name."""

import difflib
from types import MappingProxyType

from coview.studies.infomin_recipes import INFOMIN_RECIPES
from coview.studies.minc_ablation import MINC_ABLATION
from coview.studies.minc_batch_size import MINC_BATCH_SIZE
from coview.studies.minc_forms import MINC_FORMS
from coview.studies.minc_friction import MINC_FRICTION
from coview.studies.minc_moment import MINC_MOMENT
from coview.studies.minc_peers import MINC_PEERS
from coview.studies.minc_stability import MINC_STABILITY
from coview.studies.minc_tabular import MINC_TABULAR
from coview.studies.minc_variance import MINC_VARIANCE
from coview.studies.minc_width import MINC_WIDTH
from coview.studies.study import Study

STUDIES = MappingProxyType(
    {
        study.name: study
        for study in (
            MINC_TABULAR,
            MINC_FORMS,
            MINC_MOMENT,
            MINC_VARIANCE,
            MINC_BATCH_SIZE,
            MINC_WIDTH,
            MINC_PEERS,
            MINC_ABLATION,
            MINC_FRICTION,
            MINC_STABILITY,
            INFOMIN_RECIPES,
        )
    }
)


def names() -> tuple[str, ...]:
    """Return the names of all studies."""
    return tuple(STUDIES)


def get(name: str) -> Study:
    """Return a study by name.

    Raises:
        ValueError: If there is none; the message has the nearest name.
    """
    if name in STUDIES:
        return STUDIES[name]
    near = difflib.get_close_matches(name, STUDIES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    raise ValueError(f"no study is called {name!r}{hint} there are: {', '.join(STUDIES)}")
