"""A few lines of Python for any row, and what they print."""

import contextlib
import dataclasses
import functools
import io

from coview import objectives
from coview.objectives import Objective, ObjectiveSpec


def example(spec: ObjectiveSpec) -> str:
    """Return a program that computes the row's loss on random embeddings."""
    objective = spec.config()
    needs, views = objective.needs, max(2, objective.needs.min_views)
    images, dim = max(8, 2 * spec.min_batch), 4
    lines = ["import torch", "", *_construction(spec, objective), ""]
    lines += [
        "generator = torch.Generator().manual_seed(0)",
        f"z = torch.randn({views}, {images}, {dim}, generator=generator)  # views, images, width",
    ]
    arguments = ["z", f"objective.init({dim})"]
    if needs.target:
        lines.append(f"target = z + 0.1 * torch.randn({views}, {images}, {dim}, "
                     "generator=generator)")  # fmt: skip
        arguments.append("target=target")
    if needs.labels:
        lines.append(f"labels = torch.arange({images}) // 2")
        arguments.append("labels=labels")
    if needs.source_index:
        arguments.append(f"index=torch.arange({images})")
    lines += [
        f"loss = objective({', '.join(arguments)})",
        'print(f"total {loss.total:.4f}")',
        "for name, term in loss.terms.items():",
        '    print(f"{name} {term:.4f}")',
    ]
    return "\n".join(lines)


def output_of(program: str) -> str:
    """Run a program in a fresh namespace and return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "<example>", "exec"), {"__name__": "example"})
    return printed.getvalue().strip()


def settings_of(objective: Objective) -> dict[str, object]:
    """Return the settings of a config by name; none if it is not a dataclass."""
    if not dataclasses.is_dataclass(objective):
        return {}
    return {f.name: getattr(objective, f.name) for f in dataclasses.fields(objective) if f.init}


def command(spec: ObjectiveSpec) -> str:
    """Return the command that pretrains with the row, one of its numbers given."""
    numbers = {
        name: value
        for name, value in settings_of(spec.config()).items()
        if isinstance(value, float)
    }
    given = "".join(f":{name}={value:g}" for name, value in list(numbers.items())[:1])
    return f"coview pretrain ./images --objective {spec.name}{given}"


def _construction(spec: ObjectiveSpec, objective: Objective) -> list[str]:
    config = spec.config
    if isinstance(config, functools.partial) or not isinstance(config, type):
        name = "from coview.objectives import get"
        return [name, "", f'objective = get("{spec.name}").config()']
    name = config.__name__
    home = "coview.objectives" if hasattr(objectives, name) else config.__module__
    arguments = ", ".join(f"{key}={value!r}" for key, value in settings_of(objective).items())
    line = f"objective = {name}({arguments})  # the defaults, written out"
    if len(line) > 88:
        line = f"objective = {name}()"
    return [f"from {home} import {name}", "", line]
