"""What a set of raw images has in common: found from headers, before any is decoded."""

from collections import Counter
from dataclasses import dataclass
from statistics import median

from coview.data.decoder import Skipped, in_threads, reason
from coview.data.decoding import READ_ERRORS, Header
from coview.data.readers import Reader
from coview.data.rendering import Scaling, check_scaling, estimate_scaling
from coview.random import generator

LARGEST_SIZE = 224
SCALING_IMAGES = 256


@dataclass(frozen=True)
class Survey:
    """The headers of all images that have one."""

    positions: list[int]
    headers: list[Header]
    skipped: list[Skipped]


def survey_headers(reader: Reader, workers: int) -> Survey:
    """Read every header, in threads."""

    def header(position: int) -> Header | Skipped:
        try:
            return reader.header(position)
        except READ_ERRORS as error:
            return Skipped(reader.names[position], reason(error))

    positions = list(range(len(reader.names)))
    results = list(zip(positions, in_threads(header, positions, workers, "looking"), strict=True))
    good = [(i, result) for i, result in results if isinstance(result, Header)]
    skipped = [result for _, result in results if isinstance(result, Skipped)]
    return Survey([i for i, _ in good], [header for _, header in good], skipped)


def common_channels(reader: Reader, survey: Survey) -> int:
    """Return the channels of all images: 1 if all are grey, 3 for photographs, else the same.

    Raises:
        ValueError: If images of other channel numbers differ.
    """
    counts = Counter(header.channels for header in survey.headers)
    if set(counts) <= {1, 3}:
        return max(counts)
    if len(counts) == 1:
        return next(iter(counts))
    usual = counts.most_common(1)[0][0]
    compatible = {1, 3} if usual in (1, 3) else {usual}
    first: dict[bool, tuple[str, tuple[int, int, int]]] = {}
    for position, header in zip(survey.positions, survey.headers, strict=True):
        shape = (header.height, header.width, header.channels)
        first.setdefault(header.channels in compatible, (reader.names[position], shape))
    (name, shape), (other, other_shape) = first[True], first[False]
    raise ValueError(f"images differ in channels: {name} is {shape}, {other} is {other_shape}")


def common_size(headers: list[Header], largest: int) -> int:
    """Return the side to which all images are brought: theirs or the median short one's, capped."""
    sides = {(header.height, header.width) for header in headers}
    if len(sides) == 1:
        height, width = next(iter(sides))
        if height == width:
            return min(height, largest)
    return min(int(median(min(h.height, h.width) for h in headers)), largest)


def common_scaling(
    reader: Reader, survey: Survey, channels: int, given: Scaling | None
) -> Scaling | None:
    """Return the given scaling, or one estimated from up to 256 of the wide images, if any are.

    Raises:
        ValueError: If the given one does not fit, or wide images are of different types.
    """
    wide = [
        (position, header.dtype)
        for position, header in zip(survey.positions, survey.headers, strict=True)
        if header.dtype not in ("uint8", "bool")
    ]
    if not wide:
        return None
    if given is not None:
        return check_scaling(given, channels)
    first = {dtype: reader.names[position] for position, dtype in reversed(wide)}
    if len(first) > 1:
        listed = ", ".join(f"{name} is {dtype}" for dtype, name in first.items())
        raise ValueError(f"images of different wide types cannot share one scaling: {listed}")
    order = generator("scaling").permutation(len(wide))
    images = []
    for place in order.tolist():
        try:
            images.append(reader.read(wide[place][0], None))
        except READ_ERRORS:
            continue
        if len(images) == SCALING_IMAGES:
            break
    return estimate_scaling(images) if images else None


def sound_positions(
    reader: Reader, positions: list[int], workers: int
) -> tuple[list[int], list[Skipped]]:
    """Decode the images whose files look cut off; return those that can be read, and the rest."""

    def failure(position: int) -> Skipped | None:
        try:
            if reader.doubtful(position):
                reader.read(position, None)
        except READ_ERRORS as error:
            return Skipped(reader.names[position], reason(error))
        return None

    failures = list(in_threads(failure, positions, workers, "checking"))
    sound = [i for i, broken in zip(positions, failures, strict=True) if broken is None]
    return sound, [broken for broken in failures if broken is not None]
