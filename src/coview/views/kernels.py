"""The fused CPU path: one compiled loop over the images makes a whole view of each.

Needs numba (the extra `fast`). Pixels are float32 in grey levels, 0 to 255, and stay in the view's
own memory from the crop to the last step, which divides by 255. The torch forms in the operations'
files are the oracle. Every image is computed alone and in one order, so a view does not depend on
the batch or on the number of threads. Kernels hold no lock and no state: `engine` runs them from
threads of its own, because numba's parallel loops abort where two threads call or after a fork.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from coview.views.steps import (
    AUTOCONTRAST,
    BLUR,
    BRIGHTNESS,
    CONTRAST,
    EQUALIZE,
    FLIP,
    GAIN,
    GREY,
    HALF_UP,
    HUE,
    INVERT,
    NOTHING,
    POSTERIZE,
    SATURATION,
    SHARPNESS,
    SOLARIZE,
    SOLARIZE_ADD,
    WARP,
)

RED, GREEN, BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)
WHITE = np.float32(255.0)
ZERO, ONE = np.float32(0.0), np.float32(1.0)
UP = np.float32(HALF_UP)

_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
_summing = njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"}
)


@_compiled
@no_type_check
def _weight(x: float, cubic: bool) -> float:
    """Triangle, or Keys' cubic with a = -1/2."""
    x = abs(x)
    if not cubic:
        return max(1.0 - x, 0.0)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    if x < 2.0:
        return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return 0.0


@_compiled
@no_type_check
def _axis(first, weights, length, size, cubic, flip):
    """Fill the taps of each output pixel of an axis, `weights[tap, pixel]`; return their number."""
    scale = length / size
    stretch = max(scale, 1.0)
    radius = (2.0 if cubic else 1.0) * stretch
    taps = min(math.ceil(2.0 * radius), length)
    for pixel in range(size):
        centre = scale * (pixel + 0.5)
        start = max(math.floor(centre - radius + 0.5), 0)
        start = min(start, length - taps)
        place = size - 1 - pixel if flip else pixel
        first[place] = start
        total = 0.0
        for tap in range(taps):
            weight = _weight((start + tap + 0.5 - centre) / stretch, cubic)
            weights[tap, place] = weight
            total += weight
        for tap in range(taps):
            weights[tap, place] /= total
    return taps


@_compiled
@no_type_check
def _floats(source, top, height, low, high):
    """Return a box as float32 [row, plane * column]."""
    planes, width = source.shape[0], high - low
    box = np.empty((height, planes * width), np.float32)
    for y in range(height):
        for plane in range(planes):
            for j in range(width):
                box[y, plane * width + j] = np.float32(source[plane, top + y, low + j])
    return box


@_compiled
@no_type_check
def _weigh_floats(line, box, row, weights, y, taps):
    """Write the weighted sum of `taps` rows of `box`, from `row` on."""
    if taps == 1:
        for j in range(line.size):
            line[j] = box[row, j]
        return
    w0, w1 = weights[0, y], weights[1, y]
    for j in range(line.size):
        line[j] = w0 * box[row, j] + w1 * box[row + 1, j]
    for tap in range(2, taps):
        w0 = weights[tap, y]
        for j in range(line.size):
            line[j] += w0 * box[row + tap, j]


@_compiled
@no_type_check
def _weigh_rows(line, source, row, low, high, weights, y, taps):
    """Write the weighted sum of `taps` rows of each plane of `source`, from `row` on."""
    width = high - low
    for plane in range(source.shape[0]):
        place = plane * width
        w0, w1 = weights[0, y], weights[1, y]
        for j in range(width):
            a, b = source[plane, row, low + j], source[plane, row + 1, low + j]
            line[place + j] = w0 * np.float32(a) + w1 * np.float32(b)
        tap = 2
        while tap + 1 < taps:
            w0, w1 = weights[tap, y], weights[tap + 1, y]
            for j in range(width):
                a, b = source[plane, row + tap, low + j], source[plane, row + tap + 1, low + j]
                line[place + j] += w0 * np.float32(a) + w1 * np.float32(b)
            tap += 2
        if tap < taps:
            w0 = weights[tap, y]
            for j in range(width):
                line[place + j] += w0 * np.float32(source[plane, row + tap, low + j])


@_compiled
@no_type_check
def _gather(out, channel, y, line, place, first, weights, taps, step):
    """Resample a line: the sum over taps of `weights[tap, x] * line[place + first[x] + tap*step]`.

    Taps are written out because the compiler does not vectorise gathers.
    """
    columns = out.shape[2]
    one = np.uint32(step)
    start = np.uint32(place)
    if taps == 1:
        for x in range(columns):
            out[channel, y, x] = line[start + first[x]]
        return
    for x in range(columns):
        i = start + first[x]
        out[channel, y, x] = weights[0, x] * line[i] + weights[1, x] * line[i + one]
    tap = 2
    while tap + 1 < taps:
        start = np.uint32(place + tap * step)
        for x in range(columns):
            i = start + first[x]
            level = weights[tap, x] * line[i] + weights[tap + 1, x] * line[i + one]
            out[channel, y, x] += level
        tap += 2
    if tap < taps:
        start = np.uint32(place + tap * step)
        for x in range(columns):
            out[channel, y, x] += weights[tap, x] * line[start + first[x]]


@_compiled
@no_type_check
def _gather_three(out, y, line, stride, first, weights, taps, step):
    """Resample three channels at once: they share indices and weights."""
    columns = out.shape[2]
    one, two = np.uint32(step), np.uint32(2 * step)
    green, blue = np.uint32(stride), np.uint32(2 * stride)
    if taps == 2:
        for x in range(columns):
            i, w0, w1 = first[x], weights[0, x], weights[1, x]
            out[0, y, x] = w0 * line[i] + w1 * line[i + one]
            out[1, y, x] = w0 * line[i + green] + w1 * line[i + green + one]
            out[2, y, x] = w0 * line[i + blue] + w1 * line[i + blue + one]
        return
    for x in range(columns):
        i, w0, w1, w2 = first[x], weights[0, x], weights[1, x], weights[2, x]
        j, k = i + green, i + blue
        out[0, y, x] = w0 * line[i] + w1 * line[i + one] + w2 * line[i + two]
        out[1, y, x] = w0 * line[j] + w1 * line[j + one] + w2 * line[j + two]
        out[2, y, x] = w0 * line[k] + w1 * line[k + one] + w2 * line[k + two]
    tap = 3
    while tap + 1 < taps:
        start = np.uint32(tap * step)
        for x in range(columns):
            i, w0, w1 = start + first[x], weights[tap, x], weights[tap + 1, x]
            out[0, y, x] += w0 * line[i] + w1 * line[i + one]
            out[1, y, x] += w0 * line[i + green] + w1 * line[i + green + one]
            out[2, y, x] += w0 * line[i + blue] + w1 * line[i + blue + one]
        tap += 2
    if tap < taps:
        start = np.uint32(tap * step)
        for x in range(columns):
            i, w0 = start + first[x], weights[tap, x]
            out[0, y, x] += w0 * line[i]
            out[1, y, x] += w0 * line[i + green]
            out[2, y, x] += w0 * line[i + blue]


@_compiled
@no_type_check
def _crop(source, box, flip, cubic, out):
    """Cut a box out of `source` [plane, row, column * interleaved channel] and resize it."""
    channels, rows, columns = out.shape
    step = channels // source.shape[0]
    top, left, height, width = box[0], box[1], box[2], box[3]
    reach = 4.0 if cubic else 2.0
    wy = np.empty((math.ceil(reach * max(height / rows, 1.0)), rows), np.float32)
    wx = np.empty((math.ceil(reach * max(width / columns, 1.0)), columns), np.float32)
    fy, fx = np.empty(rows, np.uint32), np.empty(columns, np.uint32)
    taps_y = _axis(fy, wy, height, rows, cubic, False)
    taps_x = _axis(fx, wx, width, columns, cubic, flip)
    for x in range(columns):
        fx[x] *= np.uint32(step)
    line = np.empty(width * channels, np.float32)
    low, high = left * step, (left + width) * step
    few = height <= rows or taps_y == 1
    floats = _floats(source, top, height if few else 0, low, high)
    stride = 1 if step > 1 else width
    for y in range(rows):
        if few:
            _weigh_floats(line, floats, fy[y], wy, y, taps_y)
        else:
            _weigh_rows(line, source, top + fy[y], low, high, wy, y, taps_y)
        if channels == 3 and taps_x > 1:
            _gather_three(out, y, line, stride, fx, wx, taps_x, step)
        else:
            for channel in range(channels):
                _gather(out, channel, y, line, channel * stride, fx, wx, taps_x, step)
    if cubic:
        _clamp(out.reshape(-1))


@_compiled
@no_type_check
def _copy(source, target):
    for i in range(source.size):
        target[i] = source[i]


@_compiled
@no_type_check
def _clamp(x):
    for i in range(x.size):
        x[i] = min(max(x[i], ZERO), WHITE)


@_compiled
@no_type_check
def _scale(x, factor, offset):
    for i in range(x.size):
        x[i] = min(max(x[i] * factor + offset, ZERO), WHITE)


@_summing
@no_type_check
def _sum(x):
    total = 0.0
    for start in range(0, x.size, 256):
        part = ZERO
        for i in range(start, min(start + 256, x.size)):
            part += x[i]
        total += part
    return total


@_compiled
@no_type_check
def _mean_grey(x):
    pixels = x.shape[1]
    if x.shape[0] == 3:
        luma = RED * _sum(x[0]) + GREEN * _sum(x[1]) + BLUE * _sum(x[2])
        return np.float32(luma / pixels)
    total = 0.0
    for channel in range(x.shape[0]):
        total += _sum(x[channel])
    return np.float32(total / (pixels * x.shape[0]))


@_compiled
@no_type_check
def _grey_line(x, start, stop, line):
    """Write the grey value of pixels `start` to `stop` of x [channel, pixel]."""
    if x.shape[0] == 3:
        for i in range(stop - start):
            line[i] = RED * x[0, start + i] + GREEN * x[1, start + i] + BLUE * x[2, start + i]
        return
    share = ONE / np.float32(x.shape[0])
    for i in range(stop - start):
        line[i] = ZERO
    for channel in range(x.shape[0]):
        for i in range(stop - start):
            line[i] += x[channel, start + i]
    for i in range(stop - start):
        line[i] *= share


@_compiled
@no_type_check
def _saturate(x, factor, line):
    """Blend with the grey image."""
    if x.shape[0] == 1:
        return
    rest = ONE - factor
    for start in range(0, x.shape[1], line.size):
        stop = min(start + line.size, x.shape[1])
        _grey_line(x, start, stop, line)
        for channel in range(x.shape[0]):
            for i in range(stop - start):
                level = x[channel, start + i] * factor + line[i] * rest
                x[channel, start + i] = min(max(level, ZERO), WHITE)


@_compiled
@no_type_check
def _to_grey(x, line):
    for start in range(0, x.shape[1], line.size):
        stop = min(start + line.size, x.shape[1])
        _grey_line(x, start, stop, line)
        for channel in range(x.shape[0]):
            for i in range(stop - start):
                x[channel, start + i] = line[i]


@_compiled
@no_type_check
def _turn(hue, value, spread):
    """Return a channel from its phase, `colour.adjust_hue`'s formula."""
    k = hue - np.float32(6.0) * np.floor(hue * np.float32(1.0 / 6.0))
    weight = np.float32(2.0) - abs(k - np.float32(2.0))
    return min(max(value - spread * min(max(weight, ZERO), ONE), ZERO), WHITE)


@_compiled
@no_type_check
def _hue(r, g, b, value, spread):
    """Return the hue in sixths of a turn; 0 for grey."""
    difference = r - g
    start = np.float32(4.0)
    if g == value:
        difference = b - r
        start = np.float32(2.0)
    if r == value:
        difference = g - b
        start = ZERO
    return difference / max(spread, np.float32(1e-30)) + start


@_compiled
@no_type_check
def _shift_hue(red, green, blue, shift):
    sixths = np.float32(6.0) * shift
    for i in range(red.size):
        r, g, b = red[i], green[i], blue[i]
        value = max(max(r, g), b)
        spread = value - min(min(r, g), b)
        hue = _hue(r, g, b, value, spread) + sixths
        red[i] = _turn(hue + np.float32(5.0), value, spread)
        green[i] = _turn(hue + np.float32(3.0), value, spread)
        blue[i] = _turn(hue + ONE, value, spread)


@_compiled
@no_type_check
def _level(x):
    return min(max(x, ZERO), WHITE)


@_compiled
@no_type_check
def _jitter(red, green, blue, contrast, saturation, shift, mean):
    """Do contrast, saturation and hue of an RGB image in one pass."""
    offset = (ONE - contrast) * mean
    rest = ONE - saturation
    sixths = np.float32(6.0) * shift
    for i in range(red.size):
        r = _level(red[i] * contrast + offset)
        g = _level(green[i] * contrast + offset)
        b = _level(blue[i] * contrast + offset)
        grey = (RED * r + GREEN * g + BLUE * b) * rest
        r = _level(r * saturation + grey)
        g = _level(g * saturation + grey)
        b = _level(b * saturation + grey)
        value = max(max(r, g), b)
        spread = value - min(min(r, g), b)
        hue = _hue(r, g, b, value, spread) + sixths
        red[i] = _turn(hue + np.float32(5.0), value, spread)
        green[i] = _turn(hue + np.float32(3.0), value, spread)
        blue[i] = _turn(hue + ONE, value, spread)


@_compiled
@no_type_check
def _mirror(place, side):
    """Return the pixel that stands for one beyond the border, which is not repeated."""
    return side - 1 - abs(side - 1 - abs(place))


@_compiled
@no_type_check
def _blur(image, sigma, kernel, scratch, line):
    """Blur [channel, row, column] in two passes; taps under a millionth of the middle are left out.

    `line` has room for a row and the mirrored pixels beyond its ends.
    """
    channels, rows, columns = image.shape
    radius = min(kernel // 2, math.ceil(5.3 * sigma))
    if radius == 0:
        return
    weights = np.empty(radius + 2, np.float32)
    total = 1.0
    for t in range(1, kernel // 2 + 1):
        total += 2.0 * math.exp(-0.5 * (t / sigma) ** 2)
    for t in range(radius + 1):
        weights[t] = math.exp(-0.5 * (t / sigma) ** 2) / total
    for channel in range(channels):
        for y in range(rows):
            for x in range(columns):
                line[radius + x] = image[channel, y, x]
            for t in range(1, radius + 1):
                line[radius - t] = image[channel, y, _mirror(-t, columns)]
                line[radius + columns - 1 + t] = image[
                    channel, y, _mirror(columns - 1 + t, columns)
                ]
            _blur_row(scratch, y, line, weights, radius)
        for y in range(rows):
            _blur_column(image, channel, y, scratch, weights, radius)


@_compiled
@no_type_check
def _blur_row(out, y, line, weights, radius):
    columns = out.shape[1]
    middle = np.uint64(radius)
    one = np.uint64(1)
    w0, w1 = weights[0], weights[1]
    for x in range(columns):
        i = np.uint64(x) + middle
        out[y, x] = w0 * line[i] + w1 * (line[i - one] + line[i + one])
    t = 2
    while t + 1 <= radius:
        near, far = np.uint64(t), np.uint64(t + 1)
        w0, w1 = weights[t], weights[t + 1]
        for x in range(columns):
            i = np.uint64(x) + middle
            level = w0 * (line[i - near] + line[i + near])
            out[y, x] += level + w1 * (line[i - far] + line[i + far])
        t += 2
    if t <= radius:
        near, w0 = np.uint64(t), weights[t]
        for x in range(columns):
            i = np.uint64(x) + middle
            out[y, x] += w0 * (line[i - near] + line[i + near])


@_compiled
@no_type_check
def _blur_column(image, channel, y, rows, weights, radius):
    count, columns = rows.shape
    up, down = _mirror(y - 1, count), _mirror(y + 1, count)
    w0, w1 = weights[0], weights[1]
    for x in range(columns):
        image[channel, y, x] = w0 * rows[y, x] + w1 * (rows[up, x] + rows[down, x])
    t = 2
    while t + 1 <= radius:
        up, down = _mirror(y - t, count), _mirror(y + t, count)
        above, below = _mirror(y - t - 1, count), _mirror(y + t + 1, count)
        w0, w1 = weights[t], weights[t + 1]
        for x in range(columns):
            level = w0 * (rows[up, x] + rows[down, x])
            image[channel, y, x] += level + w1 * (rows[above, x] + rows[below, x])
        t += 2
    if t <= radius:
        up, down = _mirror(y - t, count), _mirror(y + t, count)
        w0 = weights[t]
        for x in range(columns):
            image[channel, y, x] += w0 * (rows[up, x] + rows[down, x])
    for x in range(columns):
        image[channel, y, x] = min(image[channel, y, x], WHITE)


@_compiled
@no_type_check
def _solarize(x, threshold):
    for i in range(x.size):
        x[i] = WHITE - x[i] if x[i] >= threshold else x[i]


@_compiled
@no_type_check
def _solarize_add(x, added):
    for i in range(x.size):
        level = np.floor(x[i] + UP)
        x[i] = min(x[i] + added, WHITE) if level < np.float32(128.0) else x[i]


@_compiled
@no_type_check
def _posterize(x, bits):
    step = np.float32(2.0 ** (8 - bits))
    for i in range(x.size):
        x[i] = np.floor(np.floor(x[i] + UP) / step) * step


@_compiled
@no_type_check
def _autocontrast(x):
    low, high = x[0], x[0]
    for i in range(x.size):
        low = min(low, x[i])
        high = max(high, x[i])
    if high > low:
        factor = WHITE / (high - low)
        for i in range(x.size):
            x[i] = min(max((x[i] - low) * factor, ZERO), WHITE)


@_compiled
@no_type_check
def _equalize(x):
    counts = np.zeros(256, np.int64)
    for i in range(x.size):
        counts[int(x[i] + UP)] += 1
    last = 255
    while counts[last] == 0:
        last -= 1
    step = (x.size - counts[last]) // 255
    if step == 0:
        return
    table = np.empty(256, np.float32)
    before = step // 2
    for level in range(256):
        table[level] = min(before // step, 255)
        before += counts[level]
    for i in range(x.size):
        x[i] = table[int(x[i] + UP)]


@_compiled
@no_type_check
def _sharpen(image, factor, scratch):
    """Blend with the 3 x 3 smoothing (5 in the middle, 1 around, over 13); the border stays."""
    channels, rows, columns = image.shape
    if rows < 3 or columns < 3:
        return
    share, rest = np.float32(1.0 / 13.0), ONE - factor
    for channel in range(channels):
        for y in range(rows):
            for x in range(columns):
                scratch[y, x] = image[channel, y, x]
        for y in range(1, rows - 1):
            for x in range(1, columns - 1):
                around = scratch[y - 1, x - 1] + scratch[y - 1, x] + scratch[y - 1, x + 1]
                around += scratch[y + 1, x - 1] + scratch[y + 1, x] + scratch[y + 1, x + 1]
                around += scratch[y, x - 1] + scratch[y, x + 1]
                smooth = (around + np.float32(5.0) * scratch[y, x]) * share
                level = scratch[y, x] * factor + smooth * rest
                image[channel, y, x] = min(max(level, ZERO), WHITE)


@_compiled
@no_type_check
def _mirror_rows(image):
    columns = image.shape[2]
    for channel in range(image.shape[0]):
        for y in range(image.shape[1]):
            for x in range(columns // 2):
                level = image[channel, y, x]
                image[channel, y, x] = image[channel, y, columns - 1 - x]
                image[channel, y, columns - 1 - x] = level


@_compiled
@no_type_check
def _warp(source, box, matrix, stretch, cubic, fill, out):
    """Resample through an affine map from output to source pixels; see `resampling.warp`."""
    channels, step = out.shape[0], out.shape[0] // source.shape[0]
    top, left, bottom, right = box[0], box[1], box[0] + box[2], box[1] + box[3]
    reach = 2.0 if cubic else 1.0
    across, down = reach * stretch[0], reach * stretch[1]
    size = 2 * math.ceil(max(across, down)) + 2
    wx, wy = np.empty(size), np.empty(size)
    total = np.empty(channels)
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            sx = matrix[0] * (x + 0.5) + matrix[1] * (y + 0.5) + matrix[2]
            sy = matrix[3] * (x + 0.5) + matrix[4] * (y + 0.5) + matrix[5]
            if not (left <= sx < right and top <= sy < bottom):
                for channel in range(channels):
                    out[channel, y, x] = fill[channel]
                continue
            x0 = max(math.floor(sx - across + 0.5), left)
            x1 = min(math.floor(sx + across + 0.5), right)
            y0 = max(math.floor(sy - down + 0.5), top)
            y1 = min(math.floor(sy + down + 0.5), bottom)
            sum_x, sum_y = 0.0, 0.0
            for j in range(x1 - x0):
                wx[j] = _weight((x0 + j + 0.5 - sx) / stretch[0], cubic)
                sum_x += wx[j]
            for i in range(y1 - y0):
                wy[i] = _weight((y0 + i + 0.5 - sy) / stretch[1], cubic)
                sum_y += wy[i]
            for channel in range(channels):
                total[channel] = 0.0
            for i in range(y1 - y0):
                for j in range(x1 - x0):
                    weight = wy[i] * wx[j]
                    for channel in range(channels):
                        place = (x0 + j) * step + channel % step
                        total[channel] += weight * source[channel // step, y0 + i, place]
            for channel in range(channels):
                level = np.float32(total[channel] / (sum_x * sum_y))
                out[channel, y, x] = min(max(level, ZERO), WHITE)


@_compiled
@no_type_check
def _move(image, matrix, fill, copy):
    """Warp in place, bilinear and without shrinking: four taps."""
    channels, rows, columns = image.shape
    _copy(image.reshape(-1), copy.reshape(-1))
    right, bottom = columns - 1, rows - 1
    for y in range(rows):
        x_of_row = matrix[1] * (y + 0.5) + matrix[2]
        y_of_row = matrix[4] * (y + 0.5) + matrix[5]
        for x in range(columns):
            sx = matrix[0] * (x + 0.5) + x_of_row
            sy = matrix[3] * (x + 0.5) + y_of_row
            if not (0.0 <= sx < columns and 0.0 <= sy < rows):
                for channel in range(channels):
                    image[channel, y, x] = fill[channel]
                continue
            # Truncation is floor here: both are positive.
            ix, iy = int(sx + 0.5), int(sy + 0.5)
            ax, ay = np.float32(sx + 0.5 - ix), np.float32(sy + 0.5 - iy)
            x0, y0 = np.uint64(max(ix - 1, 0)), np.uint64(max(iy - 1, 0))
            x1, y1 = np.uint64(min(ix, right)), np.uint64(min(iy, bottom))
            w11, w01 = ax * ay, (ONE - ax) * ay
            w10, w00 = ax - w11, (ONE - ax) - w01
            for channel in range(channels):
                level = w00 * copy[channel, y0, x0] + w10 * copy[channel, y0, x1]
                level += w01 * copy[channel, y1, x0] + w11 * copy[channel, y1, x1]
                image[channel, y, x] = min(max(level, ZERO), WHITE)


@_compiled
@no_type_check
def _step(code, value, fill, image, line, scratch, copy):
    pixels = image.reshape(image.shape[0], -1)
    flat = image.reshape(-1)
    factor = np.float32(value[0])
    if code == BRIGHTNESS:
        _scale(flat, factor, ZERO)
    elif code == CONTRAST:
        _scale(flat, factor, (ONE - factor) * _mean_grey(pixels))
    elif code == SATURATION:
        _saturate(pixels, factor, line)
    elif code == HUE:
        _shift_hue(pixels[0], pixels[1], pixels[2], factor)
    elif code == GREY:
        _to_grey(pixels, line)
    elif code == BLUR:
        _blur(image, value[0], int(value[1]), scratch, line)
    elif code == SOLARIZE:
        _solarize(flat, factor)
    elif code == INVERT:
        _solarize(flat, ZERO)
    elif code == AUTOCONTRAST:
        for channel in range(len(pixels)):
            _autocontrast(pixels[channel])
    elif code == EQUALIZE:
        for channel in range(len(pixels)):
            _equalize(pixels[channel])
    elif code == POSTERIZE:
        _posterize(flat, int(value[0]))
    elif code == SOLARIZE_ADD:
        _solarize_add(flat, factor)
    elif code == SHARPNESS:
        _sharpen(image, factor, scratch)
    elif code == WARP:
        _move(image, value, fill, copy)
    elif code == FLIP:
        _mirror_rows(image)
    elif code == GAIN:
        _scale(pixels[int(value[0])], np.float32(value[1]), np.float32(value[2]))


@_compiled
@no_type_check
def resample(
    images,
    boxes,
    flips,
    cubic,
    turned,
    matrices,
    stretches,
    turning_cubic,
    fill,
    out,
):
    """Write the grey levels of every image's box or warped image; see `geometry.Geometry`.

    `images` are [image, plane, row, column * interleaved channel], uint8 or float32 in grey levels.
    """
    for b in range(len(images)):
        if turned[b]:
            _warp(images[b], boxes[b], matrices[b], stretches[b], turning_cubic, fill, out[b])
        else:
            _crop(images[b], boxes[b], flips[b], cubic, out[b])


@_compiled
@no_type_check
def _is_jitter(codes, s):
    if s + 2 >= codes.size or codes[s] != CONTRAST:
        return False
    return codes[s + 1] == SATURATION and codes[s + 2] == HUE


@_compiled
@no_type_check
def change(codes, values, fills, out):
    """Do the steps to every image and divide by 255; see `engine.Program`."""
    _, channels, rows, columns = out.shape
    line = np.empty(3 * columns + 2, np.float32)  # a blur's row and its mirrored ends
    scratch = np.empty((rows, columns), np.float32)
    moves = False
    for b in range(len(out)):
        for s in range(codes.shape[1]):
            moves = moves or codes[b, s] == WARP
    copy = np.empty((channels if moves else 0, rows, columns), np.float32)
    for b in range(len(out)):
        done = 0
        for s in range(codes.shape[1]):
            if s < done:
                continue
            if channels == 3 and _is_jitter(codes[b], s):
                pixels = out[b].reshape(3, -1)
                mean = _mean_grey(pixels)
                contrast, saturation = np.float32(values[b, s, 0]), np.float32(values[b, s + 1, 0])
                hue = np.float32(values[b, s + 2, 0])
                _jitter(pixels[0], pixels[1], pixels[2], contrast, saturation, hue, mean)
                done = s + 3
            elif codes[b, s] != NOTHING:
                _step(codes[b, s], values[b, s], fills[s], out[b], line, scratch, copy)
        levels = out[b].reshape(-1)
        for i in range(levels.size):
            levels[i] = max(min(levels[i] / WHITE, ONE), ZERO)
