"""What a tuning found, in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from coview.pages.records import Json

_CHANCE = 0.05
_STRENGTHS = {
    "smallest_crop": ("crops", "larger", "smaller"),
    "flip": ("flips", "fewer", "more"),
    "jitter": ("colour", "weaker", "stronger"),
    "grey": ("colour", "weaker", "stronger"),
    "blur": ("blur", "less", "more"),
}
_MOST_IN_HEADLINE = 3
_EASY = 0.95
_FEW = 100
_DIAGNOSTICS = {"rank": "effective rank", "lidar": "LiDAR"}


@dataclass(frozen=True)
class Found:
    """A finished record, its points by name."""

    record: Json

    @cached_property
    def ordered(self) -> list[Json]:
        """Points, the best first."""
        by_name = {point["name"]: point for point in self.record["points"]}
        return [by_name[name] for name in self.record["order"]]

    @property
    def best(self) -> Json:
        """The best point."""
        return self.named(self.record["best"])

    @property
    def default(self) -> Json:
        """The point to beat."""
        return self.named(self.record["default"])

    @property
    def has_labels(self) -> bool:
        """Whether accuracy was the judge."""
        return bool(self.record["judge"] == "accuracy")

    @property
    def strengths(self) -> list[str]:
        """Strengths that mean something for these images."""
        in_colour = self.record["data"]["channels"] == 3
        return [name for name in _STRENGTHS if in_colour or name != "grey"]

    @property
    def is_blind(self) -> bool:
        """Whether what was read from the labels could be chance."""
        tested = self.record["tested"]
        return tested is not None and tested["interval"][0] <= tested["chance"]

    @property
    def is_sure(self) -> bool:
        """Whether the best is told apart from the default."""
        gain = self.record["gain"]
        return gain is not None and gain["interval"][0] > 0

    def named(self, name: str) -> Json:
        """Return a point."""
        return next(point for point in self.ordered if point["name"] == name)

    def number(self, point: Json) -> int:
        """Return a point's number, from 1, in the order in which the points were made."""
        names = [row["name"] for row in self.record["points"]]
        return names.index(point["name"]) + 1

    def kind(self, point: Json) -> str:
        """Return how a point is marked."""
        if point["name"] == self.record["best"]:
            return "best"
        return "default" if point["name"] == self.record["default"] else "other"

    def judged(self, rung: Json) -> tuple[float, float] | None:
        """Return the balanced accuracy in %, or the rank, and half of its 95 % interval or 0."""
        if not self.has_labels:
            return None if rung["rank"] is None else (rung["rank"], 0.0)
        if rung["accuracy"] is None:
            return None
        return 100 * rung["accuracy"], 196 * (rung["standard_error"] or 0.0)


def headline(tuning: Found) -> str:
    """Say which views to use: what changes against the default."""
    best = tuning.best["name"]
    if tuning.is_blind:
        return "Nothing to tune by: the labels are not told from chance"
    if tuning.kind(tuning.default) == "best":
        return f"Keep the default, {best}"
    verb = "Use" if tuning.is_sure else "Try"
    phrases, details = changes(tuning)
    if not phrases:
        return f"{verb} the views of {best}"
    text = f"{verb} {_and(phrases)}"
    return f"{text}: {', '.join(details)}" if 0 < len(details) <= _MOST_IN_HEADLINE else text


def lead(tuning: Found) -> str:
    """Say what is gained, and how sure that is."""
    record, default = tuning.record, tuning.default["name"]
    tested, many = record["tested"], len(tuning.ordered)
    judge = "balanced accuracy" if tuning.has_labels else "effective rank"
    if tuning.is_blind:
        return (
            f"On {tested['images']:,} test images the best of {many} sets of views, "
            f"{tested['name']}, reads them with {_tested(tested)}; chance is "
            f"{100 * tested['chance']:.1f} %. The policy file is the default, {default}. More "
            f"{'test images with labels' if tested['images'] < _FEW else 'labels'}, fewer classes "
            "or more minutes may help."
        )
    if not tuning.has_labels and "collapse" in (verdict := tuning.best["rungs"][-1]["verdict"]):
        return f"Even its representations are in {verdict}: there is nothing to choose by."
    gain = record["gain"]
    if tuning.kind(tuning.default) == "best":
        if gain is not None:
            return (
                f"{tested['name']} was ahead on the images that chose, and is behind on others: "
                f"{_gained(tuning)}. The policy file is the default."
            )
        text = f"No other of {many} set{'s' * (many != 1)} of views did better by {judge}."
        if not tuning.has_labels:
            return f"{text} A guess: there were no labels."
        return text if tested is None else f"{text} On test images: {_tested(tested)}."
    if gain is None:
        text = f"Judged by {judge}{_against(tuning)} of the default, {default}."
        text = text if tuning.has_labels else f"A guess, without labels. {text}"
    else:
        text = f"{_gained(tuning)}, which did not choose it, after rung {tested['rung']}."
        if gain["interval"][1] < 0:  # of a tuning by an earlier version
            text += " The default does better there: keep it."
        elif not tuning.is_sure:
            text += " Not told apart from the default: keep that, or train with both."
    details = changes(tuning)[1]
    if len(details) > _MOST_IN_HEADLINE:
        text += f" In full: {', '.join(details)}."
    return text


def _gained(tuning: Found) -> str:
    gain, images = tuning.record["gain"], tuning.record["tested"]["images"]
    low, high = (_signed(100 * edge) for edge in gain["interval"])
    return (
        f"{_signed(100 * gain['value'])} points of balanced accuracy (95 % interval {low} to "
        f"{high}) against the default, {tuning.default['name']}, on {images:,} test images"
    )


def changes(tuning: Found) -> tuple[list[str], list[str]]:
    """Return what differs from the default: in words ("weaker colour"), and in numbers."""
    words: dict[str, list[str]] = {}
    weaker, details = [], []
    for name in tuning.strengths:
        group, less, more = _STRENGTHS[name]
        group = "jitter" if group == "colour" and "grey" not in tuning.strengths else group
        old, new = tuning.default["strengths"][name], tuning.best["strengths"][name]
        if strength(name, old) == strength(name, new):
            continue
        weaker.append((new > old) if name == "smallest_crop" else (new < old))
        gone = strength(name, new) == "–"
        if gone and group != "colour":
            words[group] = ["no"]
            continue
        words.setdefault(group, []).append(less if weaker[-1] else more)
        details.append(_change(name, old, new))
    if len(words) > 2 and len(set(weaker)) == 1:
        return ["weaker views" if weaker[0] else "stronger views"], details
    one = {group: found[0] if len(set(found)) == 1 else "other" for group, found in words.items()}
    return [f"{word} {group}" for group, word in one.items()], details


def advice(tuning: Found) -> list[str]:
    """Say where the best lies, whether there is an inverted U, and what to trust."""
    kinds = (
        "Points differ in kind (which operations) and not only in amount, so two that share as "
        "much need not serve as well."
    )
    if tuning.has_labels:
        trust = tuning.record["trust"].items()
        told = [_trust(_DIAGNOSTICS[judge], found) for judge, found in trust if found]
        return [_sharing(tuning), _shape(tuning), kinds, *told, *_room(tuning)]
    return [
        _sharing(tuning),
        kinds,
        *_by_lidar(tuning),
        "There were no labels to judge by, so effective rank was the judge: it tells how many "
        "directions the representations use, and not whether these are useful. The choice is a "
        "guess: check it with a few labels.",
    ]


def _room(tuning: Found) -> list[str]:
    """Say so if views have little to gain: the labels are easy."""
    shown = tuning.record["shown"]
    read = {row["per_class"]: row["accuracy"] for row in shown["trunk"]}
    if read.get(shown["per_class"], 0.0) < _EASY:
        return []
    return [
        f"The labels are easy: before any choice, {100 * read[shown['per_class']]:.0f} % are read "
        f"from {shown['per_class']} labels a class. Views have little to gain here."
    ]


def _by_lidar(tuning: Found) -> list[str]:
    """Say what another diagnostic would have chosen, after the first rung."""
    found = {
        point["name"]: point["rungs"][0]["lidar"]
        for point in tuning.ordered
        if point["rungs"] and point["rungs"][0]["lidar"] is not None
    }
    if len(found) < 2:
        return []
    chosen = max(found, key=lambda name: float(found[name]))
    agrees = "too" if chosen == tuning.record["best"] else "and not the best by rank"
    return [f"LiDAR, another diagnostic, is highest for {chosen} after the first rung, {agrees}."]


def _sharing(tuning: Found) -> str:
    """Say where the best lies against the default."""
    best, default = tuning.best["information"], tuning.default["information"]
    if tuning.kind(tuning.default) == "best":
        others = [p["information"]["nats"] for p in tuning.ordered if p is not tuning.best]
        less = sum(nats < best["nats"] for nats in others)
        return (
            f"The two views of the default share {nats(best)} nats; {less} of the other points "
            f"share less, {len(others) - less} as much or more."
        )
    if best["saturated"] and default["saturated"]:
        return (
            f"The views of the best and of the default share all that could be measured, at least "
            f"{min(best['nats'], default['nats']):.1f} nats: which share more is not known."
        )
    apart = best["nats"] - default["nats"]
    half = 1.96 * math.hypot(best["standard_error"], default["standard_error"])
    subject = "The sweet spot found: the best" if tuning.is_sure else "The best"
    if abs(apart) <= half:
        return (
            f"{subject} shares about as much as the default ({nats(best)} against "
            f"{nats(default)} nats): what differs is the kind of views."
        )
    least = "at least " if best["saturated"] or default["saturated"] else ""
    return (
        f"{subject} shares {nats(best)} nats, {least}{abs(apart):.1f} ± {half:.1f} "
        f"{'more' if apart > 0 else 'less'} than the default ({nats(default)})."
    )


def _shape(tuning: Found) -> str:
    """Say whether accuracy rises and then falls with information."""
    test = tuning.record["two_lines"]
    if test is None:
        return "Too few points, or too much alike, to test for an inverted U."
    low, high = (
        f"{_signed(100 * test[side]['slope'])} points a nat ({_p(test[side]['p'])})"
        for side in ("low", "high")
    )
    points = f"{test['n']} points{' below the ceiling' * (test['n'] < len(tuning.ordered))}"
    slopes = f"accuracy changes by {low} up to {test['break']:.1f} nats, and by {high} above"
    if test["verdict"] == "inverted U":
        return f"An inverted U by the two-lines test on {points}: {slopes}."
    return (
        f"No inverted U was found: by the two-lines test on {points} {slopes}; the first "
        f"would have to be clearly above 0 and the second clearly below (p < {_CHANCE})."
    )


def _trust(judge: str, trust: Json) -> str:
    """Say how well a diagnostic alone would have chosen."""
    chosen = (
        f"Without labels, {judge} would have chosen {trust['chosen']}: "
        f"{100 * trust['accuracy']:.1f} % against {100 * trust['best_accuracy']:.1f} % of the most "
        f"accurate point."
    )
    if trust["kendall"] is None or trust["p"] is None:
        return chosen
    if trust["p"] >= _CHANCE:
        worth = "it is no guide on these images"
    else:
        worth = "it is some guide here" if trust["kendall"] > 0 else "it misleads here"
    return (
        f"{chosen} Over {trust['n']} points, Kendall’s τ of {judge} and accuracy is "
        f"{_signed(trust['kendall'], 2)} ({_p(trust['p'])}): {worth}."
    )


def _against(tuning: Found) -> str:
    """Return ", after rung 2: 31 against 27", at the last rung that best and default reached."""
    best, default = tuning.best["rungs"], tuning.default["rungs"]
    last = min(len(best), len(default))
    found = [tuning.judged(rungs[last - 1]) for rungs in (best, default)] if last else [None]
    if None in found:
        return ", it is ahead"
    return f", after rung {last}: " + " against ".join(f"{one[0]:.1f}" for one in found if one)


def _change(name: str, old: float, new: float) -> str:
    before, after = strength(name, old), strength(name, new)
    if name == "smallest_crop":
        return f"crops of at least {after} of the image instead of {before.replace('–', 'all')}"
    return (
        f"no {name}" if after == "–" else f"{name} {after} instead of {before}".replace("–", "none")
    )


def strength(name: str, value: float) -> str:
    """Write a strength; a dash for none."""
    if name == "smallest_crop":
        return "–" if value >= 1 else f"{100 * value:.2g}\N{NO-BREAK SPACE}%"
    return f"{value:.2g}" if value else "–"


def nats(information: Json) -> str:
    """Write an amount of information."""
    return f"{'at least ' if information['saturated'] else ''}{information['nats']:.1f}"


def _tested(tested: Json) -> str:
    low, high = (100 * edge for edge in tested["interval"])
    return (
        f"{100 * tested['value']:.1f} % balanced accuracy (95 % interval {low:.1f} to {high:.1f})"
    )


def plus_minus(value: float, half: float) -> str:
    """Write a value with half of its interval, where there is one."""
    return f"{value:.1f} ± {half:.1f}" if half else f"{value:.1f}"


def _signed(value: float, digits: int = 1) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _and(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
