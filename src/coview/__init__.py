"""coview: learn image representations without labels, and know that they are good.

Importing coview imports no torch; every name below is loaded when it is first used.
"""

import random as _random
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coview.checkup import doctor as doctor
    from coview.commands import audit_views as audit_views
    from coview.commands import learn_views as learn_views
    from coview.commands import page as page
    from coview.commands import pretrain as pretrain
    from coview.commands import show_views as show_views
    from coview.commands import study as study
    from coview.commands import tune_views as tune_views
    from coview.evaluation.embed import embed as embed
    from coview.evaluation.evaluate import evaluate as evaluate
    from coview.training.loading import load as load
    from coview.training.replay import replay_run as replay_run

_before = _random.getstate()
import_module("rich.console")  # draws from the global generator when it is first imported
_random.setstate(_before)

_HOMES = {
    "audit_views": "coview.commands",
    "doctor": "coview.checkup",
    "embed": "coview.evaluation.embed",
    "evaluate": "coview.evaluation.evaluate",
    "learn_views": "coview.commands",
    "load": "coview.training.loading",
    "page": "coview.commands",
    "pretrain": "coview.commands",
    "replay_run": "coview.training.replay",
    "show_views": "coview.commands",
    "study": "coview.commands",
    "tune_views": "coview.commands",
}

__all__ = [
    "audit_views",
    "doctor",
    "embed",
    "evaluate",
    "learn_views",
    "load",
    "page",
    "pretrain",
    "replay_run",
    "show_views",
    "study",
    "tune_views",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'coview' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
