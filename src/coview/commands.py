"""What a user can do: each once as a function and as a command of the same name."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coview.training.settings import Pretraining

if TYPE_CHECKING:
    from coview.training.run_folder import RunFolder


def pretrain(source: Any, **settings: Any) -> "RunFolder":  # noqa: ANN401
    """Learn an encoder from unlabelled images, judge it if there are labels, and make its page.

    Labels are used to judge and never to train; a fifth of the labelled images is held out.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        **settings: The fields of `coview.training.settings.Pretraining`; `encoder`, `objective`
            and `views` also take a module, an `Objective` and a `Policy` of your own.

    Returns:
        The run folder; `coview.load` makes the encoder from it.

    Raises:
        ValueError: If a setting is out of range or names nothing.
        FileNotFoundError: If there is no such source.
        FileExistsError: If the run folder exists and `resume` was not asked for.
        OSError: If the run folder cannot be written.
        coview.training.learner.NonFinite: If the loss or its gradient stops being finite.
        coview.training.loop.Stopped: After a signal, or when the representations stay collapsed.
    """
    from coview.evaluation.atlas import write_atlas
    from coview.evaluation.evaluate import evaluate
    from coview.pages import write_page
    from coview.training.pretrain import train

    asked = Pretraining(source=source, **settings)
    trained = train(asked)
    if trained.first:
        if trained.splits is not None and asked.evaluate:
            try:
                evaluate(
                    trained.folder, trained.dataset, splits=trained.splits, encoder=trained.encoder
                )
            except ValueError as error:  # too few labels: the encoder is there all the same
                warnings.warn(f"not judged: {error}", RuntimeWarning, stacklevel=2)
        write_atlas(
            trained.folder, trained.encoder, trained.dataset, trained.splits, seed=asked.seed
        )
        write_page(trained.folder.path)
    return trained.folder


def page(run: "RunFolder | Path | str") -> Path:
    """Write the page of a run from its records: one self-contained HTML file.

    Args:
        run: A run folder.

    Returns:
        The file, `index.html` in the run folder.

    Raises:
        FileNotFoundError: If there is no such run.
    """
    from coview.pages import write_page
    from coview.training.run_folder import RunFolder

    return write_page(RunFolder.open(run.path if isinstance(run, RunFolder) else run).path)
