"""What a user can do: each once as a function and as a command of the same name."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coview.training.settings import Pretraining

if TYPE_CHECKING:
    from coview.data import Dataset
    from coview.pages.gallery import Drawn
    from coview.training.run_folder import RunFolder
    from coview.views import Policy

_PICTURES, _DRAWS = 6, 48
"""Images of a gallery, and views drawn of each."""


def pretrain(source: Any, **settings: Any) -> "RunFolder":  # noqa: ANN401
    """Learn an encoder from unlabelled images, judge it if there are labels, and make its page.

    Labels are used to judge and never to train, unless the objective learns from labels
    (`supervised_contrastive`); a fifth of the labelled images is held out.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        **settings: The fields of `coview.training.settings.Pretraining`; `encoder`, `objective`
            and `views` also take a module, an `Objective` and a `Policy` of your own. A `recipe`
            fills in what is not given.

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
    from coview.evaluation.diagnosis import write_diagnosis
    from coview.evaluation.evaluate import evaluate
    from coview.pages import write_page
    from coview.training.pretrain import train
    from coview.training.recipes import filled

    asked = Pretraining(source=source, **filled(settings))
    trained = train(asked)
    if trained.first:
        judged = False
        if trained.splits is not None and asked.evaluate:
            try:
                evaluate(
                    trained.folder, trained.dataset, splits=trained.splits, encoder=trained.encoder
                )
                judged = True
            except ValueError as error:  # too few labels: the encoder is there all the same
                warnings.warn(f"not judged: {error}", RuntimeWarning, stacklevel=2)
        if asked.evaluate and not judged:
            write_diagnosis(
                trained.folder, trained.encoder, trained.dataset, trained.splits, seed=asked.seed
            )
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


def show_views(
    source: Any,  # noqa: ANN401
    *,
    views: Any = "auto",  # noqa: ANN401
    out: Path | str = Path("views.html"),
    size: int | None = None,
    seed: int = 0,
) -> Path:
    """Write the gallery of a policy: views of a few images by the strength of each operation.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        views: A preset, as in `small:flip=0`, a policy file or a `Policy`; `auto` is what
            `pretrain` would take.
        out: HTML file to write.
        size: Side of images and views in pixels; default: as stored.
        seed: Of the images shown and of their views.

    Returns:
        The file.

    Raises:
        ValueError: If there is no such preset, an option is out of range, or the views are not a
            policy of operations.
        FileNotFoundError: If there is no such source.
        OSError: If the file cannot be written.
    """
    from coview import data
    from coview.pages.gallery import write_gallery
    from coview.training.job import find_policy
    from coview.training.pretrain import default_views
    from coview.views import Policy

    dataset = data.open(source, size=size, largest=224)
    if views == "auto":
        views = default_views(dataset.size)
    policy = find_policy(views)
    if not isinstance(policy, Policy):
        raise ValueError(
            f"views: the gallery shows a Policy of operations, not {type(policy).__name__}"
        )
    drawn, overlap = _draw_views(dataset, policy, seed=seed)
    facts = [
        ("Images", f"{dataset.name}, {dataset.size} × {dataset.size}"),
        ("Views of an image", str(len(policy.views))),
        ("Shown from", f"{len(drawn)} images, {_DRAWS} draws each"),
    ]
    if overlap is not None:
        facts.append(("Overlap of two crops", f"{100 * overlap:.0f} % (mean IoU)"))
    return write_gallery(
        Path(out), title=policy.name, facts=facts, policy=policy.to_dict(), drawn=drawn
    )


def audit_views(
    source: Any,  # noqa: ANN401
    *,
    views: Any = "auto",  # noqa: ANN401
    size: int | None = None,
    minutes: float = 4.0,
    steps: int | None = None,
    encoder: Any = None,  # noqa: ANN401
    out: Path | str = Path("audit"),
    seed: int = 0,
) -> Path:
    """Measure what each operation of a policy removes, what stays readable and what it costs.

    The same call goes on after an interruption. See `coview.search.audit.audit_views`.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        views: A preset, as in `small:flip=0`, a policy file or a `Policy`; `auto` is what
            `pretrain` would take.
        size: Side of images and views in pixels; default: as stored.
        minutes: Time for all of it, measured once and turned into steps.
        steps: Steps of the critic's encoder, instead of minutes.
        encoder: A run or a module whose representations are asked what was done to a view;
            default: the audit's own encoder.
        out: Folder to write: `audit.json`, `index.html`.
        seed: Of the images taken, their views and the encoder.

    Returns:
        The folder.

    Raises:
        ValueError: If the views cannot be audited, or an option is out of range.
        FileNotFoundError: If there is no such source or run.
        OSError: If the folder cannot be written.
    """
    from coview.pages.audit_page import write_audit_page
    from coview.search import audit

    folder = audit.audit_views(
        source,
        views=views,
        size=size,
        minutes=minutes,
        steps=steps,
        encoder=encoder,
        out=out,
        seed=seed,
    )
    write_audit_page(folder)
    return folder


def tune_views(source: Any, **settings: Any) -> Path:  # noqa: ANN401
    """Find the strengths of views that serve some labels best, by short trainings.

    The same call goes on after an interruption. See `coview.search.tune.tune_views`.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        **settings: The other fields of `coview.search.Tuning`.

    Returns:
        The folder: `policy.json` for `pretrain`, `tune.json`, `index.html`.

    Raises:
        ValueError: If there are fewer than 100 images, or a setting is out of range.
        FileNotFoundError: If there is no such source.
        FileExistsError: If the folder holds something else.
        ImportError: If Optuna is not installed.
        OSError: If the folder cannot be written.
        coview.training.loop.Stopped: After a signal.
    """
    from coview.pages.tune_page import write_tune_page
    from coview.search import tune

    folder = tune.tune_views(source, **settings)
    write_tune_page(folder)
    return folder


def learn_views(source: Any, **settings: Any) -> Path:  # noqa: ANN401
    """Learn views of images, and measure on images never seen what they share before and after.

    Args:
        source: A folder, an .npz or .npy file, arrays, tensors, a `Dataset`, or `sample`.
        **settings: The other fields of `coview.search.Learning`.

    Returns:
        The folder: `learn.json`, `generator.safetensors`, `index.html`.

    Raises:
        ValueError: If a setting is out of range, there are no labels for an objective that needs
            them, or images of one channel are to be split.
        FileNotFoundError: If there is no such source, or nothing to resume.
        FileExistsError: If the folder exists and `resume` was not asked for.
        RuntimeError: If the game has failed with two seeds.
        coview.training.loop.Stopped: After a signal; `resume` goes on.
    """
    from coview.pages.learn_page import write_learn_page
    from coview.search import learn

    folder = learn.learn_views(source, **settings)
    write_learn_page(folder)
    return folder


def _draw_views(
    dataset: "Dataset", policy: "Policy", *, seed: int
) -> "tuple[list[Drawn], float | None]":
    """Return views of some images, and the mean overlap of the first two views' crops."""
    import numpy as np

    from coview.pages.gallery import Drawn
    from coview.random import generator
    from coview.views.record import crop_boxes, overlap

    order = generator(seed, "gallery").permutation(len(dataset))[:_PICTURES]
    drawn, overlaps = [], []
    for one in order.tolist():
        image = dataset.fetch(np.array([one])).cpu()
        views, boxes, captions = [], [], []
        groups = policy.groups(
            image.expand(_DRAWS, -1, -1, -1),
            index=one * _DRAWS + np.arange(_DRAWS),
            seed=seed,
            epoch=0,
            size=dataset.size,
        )
        for made, record in groups:
            views += [(255 * view).round().byte().numpy() for view in made]
            boxes += [crop_boxes(record, view) for view in range(len(made))]
            captions += record.captions()
        if len(groups[0].views) > 1:
            overlaps.append(overlap(groups[0].record).mean())
        drawn.append(Drawn(image=image[0].numpy(), views=views, boxes=boxes, captions=captions))
    return drawn, float(np.mean(overlaps)) if overlaps else None


def study(
    name: str,
    *,
    scale: str = "smoke",
    out: Path | str | None = None,
    data: Path | str | None = None,
    workers: int | None = None,
) -> Path:
    """Put a claim to the test, and write a page with the verdict.

    Finished trials are skipped: the same command goes on after an interruption, and a larger scale
    reuses what a smaller one has.

    Args:
        name: A study; `coview.studies.names()` lists them.
        scale: `smoke` (minutes on 2 cores), `laptop` (an hour; minc-batch-size four), `full` (a
            night or more) or `paper` (as many images as papers show).
        out: Folder; default `runs/studies/NAME`.
        data: Images for the studies that need them; else ignored.
        workers: Processes; default one a CUDA device that is used, else one a core.

    Returns:
        The folder: `report.json`, `index.html` and the trials.

    Raises:
        ValueError: If there is no such study or scale, or images are needed and not given; or as
            `coview.data.open`.
        FileNotFoundError: If there are no images at that path.
        RuntimeError: If another study is running in the folder; or if trials failed or no process
            could start: the report of the others is written.
    """
    from coview.pages.study_page import write_study_page
    from coview.studies import get, run_study
    from coview.studies.runner import folder_of

    asked = get(name)
    folder = folder_of(asked, out)
    try:
        return run_study(asked, scale=scale, out=folder, data=data, workers=workers)
    finally:
        if (folder / "report.json").is_file():
            write_study_page(folder)
