# ruff: noqa: E501 (a text of the source stands on one line)
"""Faults to put into the objectives, each a change of one place in the source."""

from dataclasses import dataclass

NT_XENT, DCL, SUPCON = "nt_xent", "decoupled_nt_xent", "supervised_contrastive"
SPECTRAL, VICREG, EXP, CTR = "spectral_contrastive", "vicreg", "vicreg_exp", "vicreg_ctr"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A fault.

    Attributes:
        rows: Objectives that must notice it.
        kind: What sort of mistake it is.
        file: Below src/coview.
        old: Text that is there just once.
        new: What stands there instead.
    """

    rows: tuple[str, ...]
    kind: str
    file: str
    old: str
    new: str


def _of(file: str, *rows: str, faults: tuple[tuple[str, str, str], ...]) -> tuple[Mutation, ...]:
    return tuple(
        Mutation(rows=rows, kind=kind, file=f"objectives/{file}.py", old=old, new=new)
        for kind, old, new in faults
    )


FACTOR, BIASED, DIAGONAL = "drop or change a factor", "biased for unbiased", "keep the diagonal"
AXIS, VIEW, RANKS = "swap the axis", "forget a view", "drop the reduction over ranks"
SIGN, GRADIENT, LOCAL = "flip a sign", "stop or leak a gradient", "local for global"
CHECK, STATE, PRECISION = "drop a check", "mishandle the state", "lose precision"

MUTATIONS: tuple[Mutation, ...] = (
    *_of(
        "prediction",
        "byol",
        faults=(
            (FACTOR, "return 4 - 4 * mean_cosine(", "return 2 - 2 * mean_cosine("),
            (FACTOR, "return 4 - 4 * mean_cosine(", "return 4 - 2 * mean_cosine("),
            (SIGN, "return 4 - 4 * mean_cosine(", "return 4 + 4 * mean_cosine("),
            (VIEW, "return len(target) * (len(prediction) - 1)", "return len(target)"),
            (DIAGONAL, "target.sum(0)).sum() - own", "target.sum(0)).sum()"),
            (SIGN, "target.sum(0)).sum() - own", "target.sum(0)).sum() + own"),
            (VIEW, "(prediction.sum(0) * target", "(prediction[0] * target"),
            (VIEW, "* target.sum(0)).sum() - own", "* target[0]).sum() - own"),
            (AXIS, "(prediction.sum(0) * target.sum(0))", "(prediction.sum(1) * target.sum(1))"),
            (RANKS, "ranks.sum(others, replicated=True)", "(others)"),
            (
                LOCAL,
                "images = total_images(ranks.counts(prediction[0]))",
                "images = len(prediction[0])",
            ),
            (GRADIENT, 'widen(target.detach(), "target")', "widen(target)"),
            (
                GRADIENT,
                "unit_rows(prediction), unit_rows(_con",
                "unit_rows(prediction.detach()), unit_rows(_con",
            ),
            (
                FACTOR,
                "= unit_rows(prediction), unit_rows(_constant(target, prediction))",
                "= unit_rows(prediction), _constant(target, prediction)",
            ),
            (CHECK, "    _check_pairs(prediction, target)\n", ""),
            (
                CHECK,
                "target.shape[1:] != prediction.shape[1:]",
                "target.shape[2:] != prediction.shape[2:]",
            ),
        ),
    ),
    *_of(
        "prediction",
        "simsiam",
        faults=(
            (SIGN, "return -mean_cosine(", "return mean_cosine("),
            (FACTOR, "return -mean_cosine(", "return -2 * mean_cosine("),
        ),
    ),
    *_of(
        "prediction",
        "linear_byol",
        faults=(
            (
                FACTOR,
                "return byol(z, target, ranks=ranks)",
                "return byol(z, target, ranks=ranks) / 2",
            ),
            (AXIS, "widen(z) @ matrix.T", "widen(z) @ matrix"),
            (
                DIAGONAL,
                "cross = target.sum(0).T @ z.sum(0) - own",
                "cross = target.sum(0).T @ z.sum(0)",
            ),
            (
                AXIS,
                "cross = target.sum(0).T @ z.sum(0) - own",
                "cross = z.sum(0).T @ target.sum(0) - own",
            ),
            (RANKS, "ranks.sum(cross, replicated=True) / number", "cross / number"),
            (RANKS, "sum_outer_products(second, ranks) / number", "second / number"),
            (
                FACTOR,
                "sum_outer_products(second, ranks) / number",
                "sum_outer_products(second, ranks)",
            ),
            (FACTOR, "* ridge / z.shape[-1]", "* ridge"),
            (VIEW, "uses = len(target) - (torch", "uses = 1 + len(target) - (torch"),
            (AXIS, "solve(second, cross, left=False)", "solve(second, cross)"),
        ),
    ),
    *_of(
        "minc",
        "minc",
        faults=(
            (FACTOR, "alignment = -2 * (own", "alignment = -(own"),
            (SIGN, "alignment = -2 * (own", "alignment = 2 * (own"),
            (VIEW, "(own[0, 1] + own[1, 0]).sum()", "(2 * own[0, 1]).sum()"),
            (
                DIAGONAL,
                "((z @ matrix) * z).sum() - batch_weight / others * own.square().sum()",
                "((z @ matrix) * z).sum()",
            ),
            (BIASED, "others = 2 * (images - 1)", "others = 2 * images"),
            (FACTOR, "others = 2 * (images - 1)", "others = images - 1"),
            (
                VIEW,
                "sum_outer_products((fixed.mT @ fixed).sum(1), ranks)",
                "sum_outer_products((fixed.mT @ fixed)[:, 0], ranks)",
            ),
            (
                RANKS,
                "sum_outer_products((fixed.mT @ fixed).sum(1), ranks)",
                "(fixed.mT @ fixed).sum(1)",
            ),
            (
                RANKS,
                "ranks.sum(torch.stack([alignment, repulsion]), replicated=True)",
                "torch.stack([alignment, repulsion])",
            ),
            (GRADIENT, "widen(rows.detach(), name)", "widen(rows, name)"),
            (FACTOR, "/ (2 * images * scale)", "/ (2 * images)"),
            (FACTOR, "outer_products[1]) / (2 * images)", "outer_products[1]) / images"),
            (
                SIGN,
                "(outer_products[0] - outer_products[1])",
                "(outer_products[1] - outer_products[0])",
            ),
            (LOCAL, "z.new_tensor(2 * images))", "z.new_tensor(2 * z.shape[1]))"),
            (FACTOR, "(1 - batch_weight) * memory", "batch_weight * memory"),
            (STATE, "taken / filled.to", "taken * filled.to"),
            (STATE, "filled += (1 - filled) * taken", "filled += taken"),
            (STATE, "second_moment += moments[0] - moments[1]", "pass"),
            (STATE, "for batch in statistics]).sum(0) / rows", "for batch in statistics]).sum(0)"),
            (STATE, "-rows.item() / (2 * memory)", "-rows.item() / memory"),
            (
                VIEW,
                "previous=target if self.carries else None",
                "previous=z if self.carries else None",
            ),
            (STATE, "torch.eye(dim) * (scale / dim)", "torch.eye(dim) * scale"),
            (CHECK, '"second_moment", z.shape[-1], z.shape[-1]', '"second_moment", -1, -1'),
        ),
    ),
    *_of(
        "vicreg",
        VICREG,
        faults=(
            (FACTOR, "2 * squares / (views * dim)", "squares / (views * dim)"),
            (FACTOR, "2 * squares / (views * dim)", "2 * squares / views"),
            (FACTOR, "distance / (images * dim)", "distance / images"),
            (LOCAL, "distance / (images * dim)", "distance / (z.shape[1] * dim)"),
            (
                BIASED,
                "centred.mT @ centred, ranks) / (images - 1)",
                "centred.mT @ centred, ranks) / images",
            ),
            (
                BIASED,
                "variances = centred.square().sum(1) / (images - 1)",
                "variances = centred.square().sum(1) / images",
            ),
            (
                BIASED,
                "gram = centred @ centred.mT / (images - 1)",
                "gram = centred @ centred.mT / images",
            ),
            (DIAGONAL, "zero_diagonal(covariance).square().sum()", "covariance.square().sum()"),
            (DIAGONAL, "gram.square().sum() - variances.square().sum()", "gram.square().sum()"),
            (
                AXIS,
                "centred = z - ranks.sum(z.detach().sum(1, keepdim=True)) / images",
                "centred = z - z.detach().mean(2, keepdim=True)",
            ),
            (
                VIEW,
                "missing_spread(variances, eps).mean()",
                "missing_spread(variances[0], eps).mean()",
            ),
            (
                FACTOR,
                "missing_spread(variances, eps).mean()",
                "2 * missing_spread(variances, eps).mean()",
            ),
            (
                RANKS,
                "ranks.sum(mean_squared_distance(z), replicated=True)",
                "mean_squared_distance(z)",
            ),
            (
                RANKS,
                "ranks.sum(z.detach().sum(1, keepdim=True))",
                "z.detach().sum(1, keepdim=True)",
            ),
            (RANKS, "sum_outer_products(centred.mT @ centred, ranks)", "(centred.mT @ centred)"),
            (
                SIGN,
                "(1 - (variances + eps).sqrt()).relu()",
                "((variances + eps).sqrt() - 1).relu()",
            ),
            (FACTOR, "(1 - (variances + eps).sqrt()).relu()", "(1 - (variances + eps)).relu()"),
            (FACTOR, "(1 - (variances + eps).sqrt()).relu()", "1 - (variances + eps).sqrt()"),
            (FACTOR, "(variances + eps).sqrt()).relu()", "variances.sqrt()).relu()"),
            (CHECK, "    check_views(z)\n", ""),
            (CHECK, '    check_range("covariance_weight", covariance_weight, 0.0)\n', ""),
        ),
    ),
    *_of(
        "vicreg_variants",
        EXP,
        faults=(
            (FACTOR, "covariance / temperature).masked", "covariance * temperature).masked"),
            (DIAGONAL, ".masked_fill(own, -torch.inf).logsumexp(-1)", ".logsumexp(-1)"),
            (DIAGONAL, ".masked_fill(own, -torch.inf)", ".masked_fill(own, 0)"),
            (
                BIASED,
                "spread(centred / math.sqrt(images - 1)",
                "spread(centred / math.sqrt(images)",
            ),
            (RANKS, "sum_outer_products(rows.mT @ rows, ranks)", "(rows.mT @ rows)"),
            (AXIS, "dimensions = rows.mT / math", "dimensions = rows / math"),
            (FACTOR, "rows.mT / math.sqrt(temperature)", "rows.mT / temperature"),
            (VIEW, "for view in dimensions]", "for view in dimensions[:1]]"),
            (FACTOR, "VICRegTerms(distance / (images * dim)", "VICRegTerms(distance / images"),
        ),
    ),
    *_of(
        "vicreg_variants",
        CTR,
        faults=(
            (
                AXIS,
                "centred = z - z.mean(-1, keepdim=True)",
                "centred = z - z.mean(1, keepdim=True)",
            ),
            (BIASED, "entries = max(dim - 1, 1)", "entries = dim"),
            (FACTOR, "images - 1) * temperature)", "images - 1) / temperature)"),
            (LOCAL, "first = sum(counts[: ranks.index])", "first = 0"),
            (RANKS, "ranks.gather(rows.transpose(0, 1), counts).unbind(1)", "rows"),
            (
                GRADIENT,
                "ranks.gather(rows.transpose(0, 1), counts)",
                "ranks.gather(rows.transpose(0, 1), counts, replicated=True)",
            ),
            (RANKS, "(ranks.sum(sums, replicated=True) / images)", "(sums / images)"),
            (VIEW, "hinge / views, repetition / views", "hinge / views, repetition"),
            (FACTOR, "mean_squared_distance(z) / dim, hinge", "mean_squared_distance(z), hinge"),
        ),
    ),
    *_of(
        "spectral",
        SPECTRAL,
        faults=(
            (FACTOR, "-2 * positives / (ordered", "-positives / (ordered"),
            (SIGN, "-2 * positives / (ordered", "2 * positives / (ordered"),
            (
                BIASED,
                "(pairs * images * (images - 1) * scale)",
                "(pairs * images * images * scale)",
            ),
            (FACTOR, "(pairs * images * (images - 1) * scale)", "(pairs * images * (images - 1))"),
            (
                DIAGONAL,
                "squares = 2 * torch.stack([zero_diagonal(x).square().sum()",
                "squares = 2 * torch.stack([x.square().sum()",
            ),
            (
                FACTOR,
                "squares = 2 * torch.stack([zero_diagonal(x)",
                "squares = torch.stack([zero_diagonal(x)",
            ),
            (DIAGONAL, "return sums[0], squares - sums[1]", "return sums[0], squares"),
            (
                RANKS,
                "ranks.sum(torch.stack([2 * own.sum(), same_image]), replicated=True)",
                "torch.stack([2 * own.sum(), same_image])",
            ),
            (
                RANKS,
                "        moments = sum_outer_products(moments, ranks)\n",
                "",
            ),
            (AXIS, "products = [a @ b.T for", "products = [a.T @ b for"),
            (
                VIEW,
                "for a, b in combinations(moments, 2)]).sum()",
                "for a, b in combinations(moments[:2], 2)]).sum()",
            ),
            (
                VIEW,
                "products = [a @ b.T for a, b in combinations(z, 2)]",
                "products = [a @ b.T for a, b in combinations(z[:2], 2)]",
            ),
            (
                DIAGONAL,
                "squares = squares + zero_diagonal(z @ z.mT)",
                "squares = squares + (z @ z.mT)",
            ),
            (FACTOR, "    z = normalized(z, normalization, scale)\n", ""),
        ),
    ),
    *_of(
        "contrastive",
        NT_XENT,
        faults=(
            (FACTOR, "self.views * (self.views - 1) // 2", "self.views * (self.views - 1)"),
            (FACTOR, "return self.views * self.images", "return self.images"),
            (
                RANKS,
                "positives, others = batch.ranks.sum(sums, replicated=True)",
                "positives, others = sums",
            ),
            (
                DIAGONAL,
                "sums = torch.stack([positives, batch.log_sum_exp(block=1).sum()])",
                "sums = torch.stack([positives, batch.log_sum_exp(block=batch.views).sum()])",
            ),
            (
                FACTOR,
                'power = 0.25 if similarity == "squared" else 0.5',
                'power = 0.25 if similarity == "squared" else 1',
            ),
            (FACTOR, 'power = 0.25 if similarity == "squared" else 0.5', "power = 0.5"),
            (
                RANKS,
                "everyone = ranks.gather(local, [len(z) * count for count in counts])",
                "everyone = local",
            ),
            (
                GRADIENT,
                "[len(z) * count for count in counts])",
                "[len(z) * count for count in counts], replicated=True)",
            ),
            (LOCAL, "return self.views * sum(self.counts[: self.ranks.index])", "return 0"),
            (AXIS, "unit_rows(z.transpose(0, 1).flatten(0, 1)", "unit_rows(z.flatten(0, 1)"),
            (
                VIEW,
                "for a, b in combinations(views, 2)]",
                "for a, b in combinations(views[:2], 2)]",
            ),
            (
                CHECK,
                '        check_positive("temperature", temperature)\n        check_similarity(similarity)\n',
                "",
            ),
        ),
    ),
    *_of(
        "contrastive",
        DCL,
        faults=(
            (
                DIAGONAL,
                "batch.log_sum_exp(block=batch.views).sum()\n",
                "batch.log_sum_exp(block=1).sum()\n",
            ),
            (SIGN, "weights = 2 - batch.images", "weights = 2 + batch.images"),
            (
                AXIS,
                "(logits * (temperature / sigma)).softmax(0)",
                "(logits * (temperature / sigma)).softmax(1)",
            ),
            (FACTOR, "(logits * (temperature / sigma))", "(logits / sigma)"),
            (
                RANKS,
                "logits = batch.ranks.gather(logits, batch.counts, replicated=True)",
                "logits = logits * 1",
            ),
            (
                RANKS,
                "batch.ranks.sum(torch.stack([logits.sum(), others]), replicated=True)",
                "(logits.sum(), others)",
            ),
        ),
    ),
    *_of(
        "contrastive",
        SUPCON,
        faults=(
            (DIAGONAL, "- rows.square().sum((1, 2))", ""),
            (BIASED, "(logits / (sizes[own] - 1))", "(logits / sizes[own])"),
            (
                VIEW,
                "ones = by_image.new_full((batch.images,), batch.views)",
                "ones = by_image.new_full((batch.images,), 1.0)",
            ),
            (RANKS, "_numbered(batch.ranks.gather(labels, batch.counts))", "_numbered(labels)"),
            (
                LOCAL,
                "own = classes[batch.first // batch.views :][: len(labels)]",
                "own = classes[: len(labels)]",
            ),
            (
                CHECK,
                "    if labels.is_floating_point() or labels.shape != (z.shape[1],):",
                "    if False:",
            ),
            (STATE, "| (ordered[1:] == -1)", ""),
            (
                SIGN,
                "return NTXentTerms(-positives, others)",
                "return NTXentTerms(positives, others)",
            ),
        ),
    ),
    *_of(
        "tiles",
        NT_XENT,
        faults=(
            (DIAGONAL, "_leave_out(values, up, across, plan, 0.0)\n", "\n"),
            (GRADIENT, "_leave_out(weights, up, across, plan, 0.0)\n", "\n"),
            (
                GRADIENT,
                "weights.mul_(gradient[up, None] + gradient[across])",
                "weights.mul_(gradient[up, None])",
            ),
            (
                GRADIENT,
                "to_rows[up].addmm_(weights, columns[across])",
                "to_rows[up].addmm_(weights, columns[across], alpha=0.5)",
            ),
            (GRADIENT, "to_columns[across].addmm_(weights.T, rows[up])", "pass"),
            (
                AXIS,
                "own = torch.arange(top, bottom, device=values.device) // block",
                "own = torch.arange(top, bottom, device=values.device)",
            ),
            (AXIS, "sums[across] += values.sum(0)", "sums[up] += values.sum(1)"),
            (
                VIEW,
                "if plan.mirrored and up != across:\n                    sums",
                "if False:\n                    sums",
            ),
        ),
    ),
    *_of(
        "memory",
        "info_nce",
        faults=(
            (
                SIGN,
                "torch.logaddexp(logits, others) - logits",
                "torch.logaddexp(logits, others) + logits",
            ),
            (DIAGONAL, "(torch.logaddexp(logits, others) - logits)", "(others - logits)"),
            (
                RANKS,
                "return ranks.sum((torch.logaddexp(logits, others) - logits).sum(), replicated=True)",
                "return (torch.logaddexp(logits, others) - logits).sum()",
            ),
            (FACTOR, "length = temperature**-0.5", "length = 1 / temperature"),
            (VIEW, "for w in range(len(target)) if v != w]", "for w in range(len(target))]"),
            (VIEW, "pairs = [(v, w) for v in range(len(z))", "pairs = [(v, w) for v in range(1)"),
            (GRADIENT, "        target = target.detach()\n", ""),
            (GRADIENT, "negatives.detach()", "negatives"),
            (RANKS, "        keys = ranks.gather(\n", "        keys = (lambda x, _: x)(\n"),
            (AXIS, '"target")).transpose(0, 1).flatten(0, 1)', '"target")).flatten(0, 1)'),
            (
                STATE,
                "position.copy_((position + len(keys)) % len(queue))",
                "position.copy_((position + 1) % len(queue))",
            ),
            (STATE, "[-len(queue) :]", "[: len(queue)]"),
            (CHECK, '"keys", self.memory, z.shape[-1]', '"keys", -1, -1'),
        ),
    ),
    *_of(
        "memory",
        "instance_discrimination",
        faults=(
            (STATE, "mean = same @ rows / same.sum(1, keepdim=True)", "mean = same @ rows"),
            (FACTOR, "bank[index].repeat(len(z), 1)", "bank[index.flip(0)].repeat(len(z), 1)"),
            (RANKS, '"rows": ranks.gather(rows, counts)', '"rows": rows'),
            (GRADIENT, "unit_rows(widen(z.detach())).mean(0)", "unit_rows(widen(z)).mean(0)"),
            (VIEW, "unit_rows(widen(z.detach())).mean(0)", "unit_rows(widen(z.detach()))[0]"),
            (CHECK, '"rows", self.images, z.shape[-1]', '"rows", -1, -1'),
        ),
    ),
    *_of(
        "alignment_uniformity",
        "alignment_uniformity",
        faults=(
            (FACTOR, "torch.stack(distances) ** power", "torch.stack(distances)"),
            (FACTOR, "(images * len(distances))", "images"),
            (RANKS, "ranks.sum(powers.sum(), replicated=True)", "powers.sum()"),
            (
                AXIS,
                "torch.linalg.vector_norm(a - b, dim=-1)",
                "torch.linalg.vector_norm(a - b, dim=0)",
            ),
            (
                SIGN,
                "torch.linalg.vector_norm(a - b, dim=-1)",
                "torch.linalg.vector_norm(a + b, dim=-1)",
            ),
            (FACTOR, "unit_rows(z, math.sqrt(2 * scale))", "unit_rows(z, math.sqrt(scale))"),
            (BIASED, "math.log(images * (images - 1))", "math.log(images * images)"),
            (VIEW, "for view in z]", "for view in z[:1]]"),
            (LOCAL, "first = sum(counts[: ranks.index])", "first = 0"),
            (RANKS, "everyone = ranks.gather(view, counts)", "everyone = view"),
            (
                RANKS,
                "ranks.gather(rows, counts, replicated=True).logsumexp(0)",
                "rows.logsumexp(0)",
            ),
            (CHECK, '        check_range("power", self.power, 1.0)\n', ""),
        ),
    ),
    *_of(
        "f_micl",
        "f_micl",
        faults=(
            (SIGN, "-sums[0] / (len(logs)", "sums[0] / (len(logs)"),
            (BIASED, "(len(z) * images * (images - 1))", "(len(z) * images * images)"),
            (VIEW, "-sums[0] / (len(logs) * images)", "-sums[0] / images"),
            (FACTOR, '"kl": Scores(lambda x: x + 1', '"kl": Scores(lambda x: x'),
            (FACTOR, "unit_rows(z, 1 / sigma)", "unit_rows(z, sigma)"),
            (
                GRADIENT,
                "score.slope(products.sub_(sigma**-2))",
                "score.negative(products.sub_(sigma**-2)) * 2",
            ),
            (LOCAL, "first = sum(counts[: ranks.index])", "first = 0"),
            (
                RANKS,
                "sum_over_others(view, ranks.gather(view, counts), function, first)",
                "sum_over_others(view, view, function, 0)",
            ),
            (
                GRADIENT,
                "ranks.gather(view, counts), function",
                "ranks.gather(view, counts, replicated=True), function",
            ),
            (
                RANKS,
                "ranks.sum(torch.stack([positive, torch.stack(negatives).sum()]), replicated=True)",
                "torch.stack([positive, torch.stack(negatives).sum()])",
            ),
            (
                FACTOR,
                '"pearson": Scores(\n        lambda x: 2 * x.expm1(), lambda x: (2 * x).expm1()',
                '"pearson": Scores(\n        lambda x: 2 * x.expm1(), lambda x: (2 * x).exp()',
            ),
            (
                FACTOR,
                "(order / (order - 1)) * ((order - 1) * x)",
                "(1 / (order - 1)) * ((order - 1) * x)",
            ),
            (
                SIGN,
                "lambda x: softplus(x) - math.log(2), torch",
                "lambda x: softplus(x) + math.log(2), torch",
            ),
            (FACTOR, "lambda x: (x / 2).exp() / 2", "lambda x: (x / 2).exp()"),
            (
                FACTOR,
                "lambda x: 1 - 4 * torch.sigmoid(-x).square()",
                "lambda x: 1 - 2 * torch.sigmoid(-x).square()",
            ),
        ),
    ),
    *_of(
        "barlow_twins",
        "barlow_twins",
        faults=(
            (
                FACTOR,
                "(1 - diagonal).square().sum(), squares",
                "(1 - diagonal).square().mean(), squares",
            ),
            (
                SIGN,
                "(1 - diagonal).square().sum(), squares",
                "(1 + diagonal).square().sum(), squares",
            ),
            (DIAGONAL, "zero_diagonal(correlation).square().sum()", "correlation.square().sum()"),
            (
                DIAGONAL,
                "(gram[v] * gram[w]).sum() - diagonal.square().sum()",
                "(gram[v] * gram[w]).sum()",
            ),
            (BIASED, "replicated=True) / images", "replicated=True) / (images - 1)"),
            (
                BIASED,
                "gram = standard @ standard.mT / images",
                "gram = standard @ standard.mT / (images - 1)",
            ),
            (
                AXIS,
                "product / deviations[v, :, None] / deviations[w]",
                "product / deviations[v] / deviations[w, :, None]",
            ),
            (
                VIEW,
                "product / deviations[v, :, None] / deviations[w]",
                "product / deviations[v, :, None] / deviations[v]",
            ),
            (
                AXIS,
                "z - ranks.sum(z.detach().sum(1, keepdim=True)) / images",
                "z - z.detach().mean(2, keepdim=True)",
            ),
            (
                RANKS,
                "ranks.sum(z.detach().sum(1, keepdim=True))",
                "z.detach().sum(1, keepdim=True)",
            ),
            (
                RANKS,
                "ranks.sum(torch.cat([part.flatten() for part in parts]), replicated=True)",
                "torch.cat([part.flatten() for part in parts])",
            ),
            (
                FACTOR,
                "(centred.square().mean(1, keepdim=True) + eps).sqrt()",
                "centred.square().mean(1, keepdim=True).sqrt()",
            ),
            (FACTOR, "+ self.redundancy_weight * terms.redundancy", "+ terms.redundancy"),
            (VIEW, "pairs = list(combinations(range(views), 2))", "pairs = [(0, 1)]"),
        ),
    ),
    *_of(
        "coding_rate",
        "coding_rate",
        faults=(
            (FACTOR, "(dim / (images * distortion))) / 2", "(dim / (images * distortion)))"),
            (FACTOR, "(dim / (images * distortion))", "(1 / (images * distortion))"),
            (
                SIGN,
                "return CodingRateTerms(-cosine, -rates",
                "return CodingRateTerms(cosine, -rates",
            ),
            (
                SIGN,
                "CodingRateTerms(-cosine, -rates.mean().to(cosine.dtype))",
                "CodingRateTerms(-cosine, rates.mean())",
            ),
            (
                VIEW,
                "CodingRateTerms(-cosine, -rates.mean().to(cosine.dtype))",
                "CodingRateTerms(-cosine, -rates[0])",
            ),
            (FACTOR, "(views * (views - 1))", "views"),
            (DIAGONAL, "(z.sum(0).square() - z.square().sum(0)).sum()", "z.sum(0).square().sum()"),
            (RANKS, "sum_outer_products(z.mT @ z, ranks) if on_moments", "z.mT @ z if on_moments"),
            (RANKS, "ranks.sum(pairs, replicated=True)", "pairs"),
            (FACTOR, "return 2 * factor.diagonal", "return factor.diagonal"),
            (FACTOR, "    z = unit_rows(z)\n", ""),
        ),
    ),
    *_of(
        "whitening_mse",
        "whitening_mse",
        faults=(
            (BIASED, "((1 - shrinkage) / (images - 1))", "((1 - shrinkage) / images)"),
            (
                FACTOR,
                "mean_squared_distance(unit_rows(whiten(part, shrinkage)))",
                "mean_squared_distance(whiten(part, shrinkage))",
            ),
            (AXIS, "mean = z.mean(1, keepdim=True)", "mean = z.mean(2, keepdim=True)"),
            (
                AXIS,
                "solve_triangular(factor, centred.mT, upper=False)",
                "solve_triangular(factor.mT, centred.mT, upper=True)",
            ),
            (FACTOR, "/ (images * len(shuffled))", "/ images"),
            (RANKS, "    z = gather_views(z, counts, ranks)\n", ""),
            (FACTOR, "images // (size or 2 * dim)", "images // (size or dim)"),
            (STATE, 'buffer_of(state, "step").add_(1)', "pass"),
            (
                CHECK,
                "        _check_factor(factor.detach()",
                "        (lambda *_: None)(factor.detach()",
            ),
            (
                STATE,
                'generator(self.seed, "whitening", int(step), i)',
                'generator(self.seed, "whitening", 0, i)',
            ),
        ),
    ),
    *_of(
        "sigreg",
        "sigreg",
        faults=(
            (FACTOR, "weights = 2 * step * gaussian", "weights = step * gaussian"),
            (FACTOR, "    weights[-1] /= 2\n", ""),
            (FACTOR, "(-frequencies.square() / 2).exp()", "(-frequencies.square()).exp()"),
            (SIGN, "(cosines - gaussian).square()", "(cosines + gaussian).square()"),
            (VIEW, "+ sines.square()\n", "\n"),
            (
                RANKS,
                "ranks.sum(torch.cat([waves.flatten(), distance[None]]), replicated=True)",
                "torch.cat([waves.flatten(), distance[None]])",
            ),
            (FACTOR, "(errors @ weights).mean() * images)", "(errors @ weights).mean())"),
            (FACTOR, "sums[-1] / (views * images * dim)", "sums[-1] / (images * dim)"),
            (
                AXIS,
                "angles.cos().sum(1), angles.sin().sum(1)",
                "angles.cos().sum(0), angles.sin().sum(0)",
            ),
            (FACTOR, "(1 - weight) * terms.invariance", "terms.invariance"),
            (STATE, "self.seed, int(step))", "self.seed, 0)"),
            (STATE, ".add_(1)\n", "\n"),
            (CHECK, '"directions", z.shape[-1], self.num_slices', '"directions", -1, -1'),
        ),
    ),
    *_of(
        "moments",
        VICREG,
        SPECTRAL,
        faults=(
            (
                RANKS,
                "summed = ranks.sum(moments[..., rows, columns], replicated=True)",
                "summed = moments[..., rows, columns]",
            ),
            (DIAGONAL, "device=x.device), 0)", "device=x.device), 1)"),
            (FACTOR, ".square().sum() * (2 / (len(z) - 1))", ".square().sum()"),
            (VIEW, "(z - z.mean(0)).square()", "(z - z[0]).square()"),
        ),
    ),
    *_of(
        "rows",
        NT_XENT,
        SPECTRAL,
        faults=(
            (
                GRADIENT,
                "along = to_rows.sum(-1, keepdim=True).div_(-(ctx.length**2))",
                "along = -to_rows.sum(-1, keepdim=True)",
            ),
            (
                PRECISION,
                "largest = torch.where(largest > 0, largest, 1)",
                "largest = torch.ones_like(largest)",
            ),
            (PRECISION, "norm = torch.where(norm > 0, norm, 1)\n", "\n"),
            (FACTOR, "radius = math.sqrt(scale)", "radius = scale"),
            (SIGN, "keepdim=True) < radius", "keepdim=True) > radius"),
        ),
    ),
    *_of(
        "inputs",
        NT_XENT,
        VICREG,
        faults=(
            (PRECISION, "return x if x.dtype == torch.float64 else x.float()", "return x"),
            (
                PRECISION,
                "with torch.autocast(z.device.type, enabled=False):",
                "with torch.autocast(z.device.type):",
            ),
            (CHECK, "    if total < 2:", "    if total < 1:"),
            (CHECK, "    if not x.is_floating_point():", "    if False:"),
            (CHECK, "z.ndim != 3 or len(z) < 2:\n", "z.ndim != 3 or len(z) < 1:\n"),
            (CHECK, "and 0 < value < math.inf", "and 0 <= value < math.inf"),
        ),
    ),
)
"""All of them; `mutate_objectives.py` says which no longer apply."""
