"""The command line: each command is the function of the same name."""

import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from coview.search import Learning, Tuning
from coview.training.settings import Named, Pretraining

_EXAMPLES = """
examples:
  coview pretrain sample --out runs/first          # the embedded photographs
  coview pretrain ./images --out runs/x            # a folder of unlabelled images
  coview pretrain ./images --out runs/x --resume   # after an interruption
  coview pretrain ./images --recipe infomin        # a published method, all its settings
  coview evaluate runs/x --labels labels.csv       # judged with labels from a table
  coview embed runs/x ./images --out images.parquet
  coview page runs/x                               # make the page again
  coview views show ./images --views simclr        # what a policy does to your images
  coview views audit ./images --views simclr       # what each of its operations removes
  coview views tune ./images --labels labels.csv   # the strengths that serve your labels
  coview views learn ./images                      # views that share what the labels need
  coview study minc-tabular                        # a paper's claim, put to the test
  coview doctor                                    # what is installed, how fast
"""

_RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
_Source = Annotated[Any, tyro.conf.arg(constructor=str, metavar="SOURCE")]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Judge an encoder by k-NN and linear probe, beside raw pixels and an untrained encoder."""

    run: _RunPath
    """Run folder."""
    source: _Source = None
    """Labelled images; default: those of the run."""
    labels: Annotated[Any, tyro.conf.arg(constructor=str, metavar="auto|FILE.csv")] = "auto"
    """Subfolders (auto), or a CSV with file,label[,group]."""
    groups: Literal["folders"] | None = None
    """`folders`: images of one folder stay in one split."""
    draws: int = 10
    """Draws of labels for each number of labels."""
    seed: int = 0
    """Of split and draws."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Write the representation of each image and its nearest neighbours."""

    run: _RunPath
    """Run folder."""
    source: Annotated[Named, tyro.conf.Positional]
    """Folder, .npz or .npy file, or `sample`."""
    out: Path = Path("embeddings.parquet")
    """.parquet (needs pyarrow) or .npz file to write."""
    neighbours: int = 5
    """Neighbours of each image."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Write the page of a run: one self-contained HTML file."""

    run: _RunPath
    """Run folder."""


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """Put a paper's claim to the test: trials, intervals, a verdict and a page."""

    name: Annotated[str, tyro.conf.Positional] = ""
    """The study; without, all are listed."""
    list: bool = False
    """List the studies and their claims."""
    scale: Literal["smoke", "laptop", "full", "paper"] = "smoke"
    """Minutes on 2 cores, an hour (minc-batch-size: four), days, or as many images as papers
    show."""
    out: Path | None = None
    """Folder; default runs/studies/NAME. Finished trials in it are not repeated."""
    data: Path | None = None
    """Images for the studies that need them."""
    workers: int | None = None
    """Processes; default one a CUDA device that is used, else one a core."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Write one page with views of a few images, by the strength of each operation."""

    source: Annotated[Named, tyro.conf.Positional]
    """Folder, .npz or .npy file, or `sample`."""
    views: Named = "auto"
    """Preset, as in small:flip=0, or policy file; auto is small below 100 pixels, simclr above."""
    out: Path = Path("views.html")
    """Page to write."""
    size: int | None = None
    """Width of images and views in pixels; default: as stored."""
    seed: int = 0
    """Of the images shown and of their views."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Measure what each operation of a policy removes, what stays readable and what it costs."""

    source: Annotated[Named, tyro.conf.Positional]
    """Folder, .npz or .npy file, or `sample`; at least 100 images."""
    views: Named = "auto"
    """Preset, as in small:flip=0, or policy file; auto is small below 100 pixels, simclr above."""
    out: Path = Path("audit")
    """Folder to write; the same command goes on after an interruption."""
    minutes: float = 4.0
    """Time for all of it, measured once and turned into steps."""
    steps: int | None = None
    """Steps of the critic's encoder, instead of minutes."""
    encoder: Path | None = None
    """Run whose representations are asked what was done to a view; default: the audit's own
    encoder."""
    size: int | None = None
    """Width of images and views in pixels; default: as stored, at most 96 on a CPU."""
    seed: int = 0
    """Of the images taken, their views and the encoder."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """Look at views, audit them, tune their strengths, or learn them."""

    action: (
        Annotated[Gallery, tyro.conf.subcommand("show")]
        | Annotated[Audit, tyro.conf.subcommand("audit")]
        | Annotated[Tuning, tyro.conf.subcommand("tune")]
        | Annotated[Learning, tyro.conf.subcommand("learn")]
    )


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Show what is installed, which device there is and how fast it is."""

    speed: bool = True
    """Measure the speed as well, about ten seconds."""


_COMMANDS: dict[str, Any] = {
    "pretrain": Pretraining,
    "evaluate": Evaluation,
    "embed": Embedding,
    "page": Page,
    "views": Views,
    "study": StudyRun,
    "doctor": Doctor,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors a user can mend are one line and exit code 2."""
    asked = tyro.extras.subcommand_cli_from_dict(
        _COMMANDS,
        args=arguments,
        prog="coview",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        description=f"Learn image representations without labels.\n{_EXAMPLES}",
    )
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        _run(asked, sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt as stopped:
        sys.stderr.write("".join(f"{note}\n" for note in getattr(stopped, "__notes__", ())))
        sys.exit(130)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        _fail(error)
    except Exception as error:
        if type(error).__name__ not in ("Stopped", "Collapsed"):
            raise
        _fail(error)


def _fail(error: BaseException) -> None:
    sys.stderr.write("\n".join([f"coview: {error}", *getattr(error, "__notes__", ())]) + "\n")
    sys.exit(2)


def _run(asked: Any, words: list[str]) -> None:  # noqa: ANN401
    import coview
    from coview.training.run_folder import RunFolder

    arguments = {field.name: getattr(asked, field.name) for field in fields(asked)}
    if isinstance(asked, Pretraining):
        if asked.recipe is not None:
            arguments = {name: arguments[name] for name in _given(arguments, words)}
        folder = coview.pretrain(arguments.pop("source"), **arguments)
        _say(f"run: {folder.path}\npage: {folder.path / 'index.html'}")
    elif isinstance(asked, Evaluation):
        run = arguments.pop("run")
        judgement = coview.evaluate(run, arguments.pop("source"), **arguments)
        for result in judgement.results:
            low, high = result.interval
            _say(
                f"{result.subject:18} {result.probe:6} {result.labels_per_class!s:>4} labels a "
                f"class: {result.accuracy:.3f} [{low:.3f}, {high:.3f}]"
            )
        if RunFolder.open(run).read("evaluation.json")["test_images_seen_in_training"]:
            _say("note: the encoder saw the test images in training, without their labels")
        _say(f"page: {coview.page(run)}")
    elif isinstance(asked, Embedding):
        _say(str(coview.embed(asked.run, asked.source, asked.out, neighbours=asked.neighbours)))
    elif isinstance(asked, StudyRun):
        _study(arguments)
    elif isinstance(asked, Page):
        _say(str(coview.page(asked.run)))
    elif isinstance(asked, Views):
        _views(asked.action)
    else:
        _show(coview.doctor(speed=asked.speed))


def _given(names: Iterable[str], words: list[str]) -> list[str]:
    """Return the settings that stand on the command line: a recipe fills in the others."""
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    options = {flag.removeprefix("--").replace("-", "_") for flag in flags}
    return [name for name in names if {name, f"no_{name}"} & options or name == "source"]


def _views(asked: Gallery | Audit | Tuning | Learning) -> None:
    import coview

    arguments = {field.name: getattr(asked, field.name) for field in fields(asked)}
    source = arguments.pop("source")
    if isinstance(asked, Gallery):
        _say(f"page: {coview.show_views(source, **arguments)}")
    elif isinstance(asked, Audit):
        _say(f"page: {coview.audit_views(source, **arguments) / 'index.html'}")
    elif isinstance(asked, Tuning):
        folder = coview.tune_views(source, **arguments)
        _say(f"views: {folder / 'policy.json'}\npage: {folder / 'index.html'}")
    else:
        _say(f"page: {coview.learn_views(source, **arguments) / 'index.html'}")


def _study(arguments: dict[str, Any]) -> None:
    import coview

    name = arguments.pop("name")
    if arguments.pop("list") or not name:
        from coview.studies import get, names

        for study in map(get, names()):
            _say(f"{study.name}{' (needs --data)' if study.data else ''}\n  {study.claim}")
        return
    _say(f"page: {coview.study(name, **arguments) / 'index.html'}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _show(report: dict[str, Any], indent: str = "") -> None:
    for name, value in report.items():
        if isinstance(value, dict):
            _say(f"{indent}{name}:")
            _show(value, indent + "  ")
        else:
            _say(f"{indent}{name}: {value}")


if __name__ == "__main__":
    main()
