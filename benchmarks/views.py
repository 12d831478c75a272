"""Making views: coview beside lightly, timm and torchvision on this machine, all cores each.

usage: python benchmarks/views.py [--quick] [--only NAME ...] [--rounds N]

simclr-32, simclr-96   uint8 images in memory, SimCLR's views without blur, as lightly's example
                       for CIFAR-10 has them; its SimCLRTransform on Pillow images in a DataLoader,
                       with 0 or as many workers as cores, the faster
blur-32, blur-96       the same with the transform's default blur
jpeg-20kB, jpeg-100kB  640 x 480 JPEG files to 224 x 224, decode included, two views a decode; the
                       same transform on Pillow's decode in worker processes
infomin-224            InfoMin's policy from 256 x 256 in memory; the same order of Pillow and
                       torchvision transforms with timm's rand-m10-n2-mstd0.5
step-32                a training step, compact encoder, batch 256: coview's in bfloat16 and float32
                       beside lightly's plain loop with the same encoder, in float32
resnet18-32            the share of a ResNet-18's step, batch 256, that is not the encoder's
operations             cost of each operation alone, fused and in its torch form, at 32 and 224

Ours and theirs run in turns, medians of rounds. Writes records/views.json.
"""

import argparse
import io
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageFilter
from records import HERE, alone, load, write

from coview import data, encoders, views
from coview.training import devices
from coview.training.job import Job, build_job
from coview.training.run_folder import environment
from coview.training.settings import Pretraining
from coview.views import (
    Affine,
    ChannelJitter,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Policy,
    RandAugment,
    RandomResizedCrop,
    Solarize,
    engine,
)

CORES = os.cpu_count() or 1
Run = Callable[[], int]
"""Makes some views and returns their number."""

Items = np.ndarray | list[Path]
Transform = Callable[[Image.Image], list[torch.Tensor]]


def simclr(*, blur: bool = True) -> Policy:
    """Return SimCLR's views as lightly's transform has them: crops are bilinear."""
    crop = RandomResizedCrop(scale=(0.08, 1.0))
    both = tuple(
        (crop, *(op for op in view[1:] if blur or not isinstance(op, GaussianBlur)))
        for view in views.get("simclr").views
    )
    return Policy(name="simclr", views=both)


def photographs(count: int, height: int, width: int) -> np.ndarray:
    """Return smooth coloured images, [image, row, column, channel]."""
    generator = torch.Generator().manual_seed(count + height)
    images = torch.zeros(count, 3, height, width)
    for side in (4, 8):
        coarse = torch.rand(count, 3, side, side, generator=generator) - 0.5
        images += torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    scaled = (images * 160 + 128).clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def rates(sides: dict[str, Run], *, rounds: int) -> dict[str, Any]:
    """Run the sides in turns; return views per second, medians and all."""
    for run in sides.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            started = time.perf_counter()
            made = run()
            found[name].append(made / (time.perf_counter() - started))
    return {
        name: {"views_per_second": round(statistics.median(values), 1), "rounds": values}
        for name, values in found.items()
    }


def compare(ours: Run, theirs: dict[str, Run], *, rounds: int) -> dict[str, Any]:
    """Return the rates and how many times faster ours is than the fastest of theirs."""
    before = load()
    found = rates({"coview": ours, **theirs}, rounds=rounds)
    best = max(found[name]["views_per_second"] for name in theirs)
    ratio = round(found["coview"]["views_per_second"] / best, 2)
    return {"sides": found, "times_faster": ratio, "load_before": before}


class Mapped(torch.utils.data.Dataset[Any]):
    """Arrays or JPEG bytes through a transform on Pillow images."""

    def __init__(self, items: Items, transform: Transform) -> None:
        self.items = items
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        item = self.items[index]
        if isinstance(item, np.ndarray):
            return self.transform(Image.fromarray(item))
        with Image.open(item) as file:
            return self.transform(file.convert("RGB"))


def loader_sides(items: Items, transform: Transform, *, batch: int) -> dict[str, Run]:
    """Return passes over the items by torch's loader, in this process and in workers."""

    def side(workers: int) -> Run:
        loader = torch.utils.data.DataLoader(
            Mapped(items, transform),
            batch_size=batch,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        return lambda: sum(sum(len(view) for view in made[:2]) for made in loader)

    return {f"loader, {workers} workers": side(workers) for workers in (0, CORES)}


def in_memory(size: int, *, blur: bool, count: int, rounds: int) -> dict[str, Any]:
    """SimCLR's views of square images in memory, normalised by both sides' networks."""
    from lightly.transforms import SimCLRTransform

    images = photographs(count, size, size)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    policy = simclr(blur=blur)
    transform = SimCLRTransform(input_size=size, gaussian_blur=0.5 if blur else 0.0)

    def ours() -> int:
        made = 0
        for start in range(0, count, 256):
            index = np.arange(start, min(start + 256, count))
            batch = policy(pixels[index], index=index, seed=0, epoch=0, size=size)
            made += batch.views.shape[0] * batch.views.shape[1]
        return made

    return compare(ours, loader_sides(images, transform, batch=256), rounds=rounds)


def from_files(kilobytes: int, *, count: int, rounds: int) -> dict[str, Any]:
    """JPEG files to two views of 224 pixels; our workers start anew in every round."""
    from lightly.transforms import SimCLRTransform

    folder = Path(tempfile.mkdtemp(prefix="coview-jpeg-"))
    files = write_jpegs(folder, kilobytes, count)
    policy = simclr()
    dataset = data.open(folder, size=224, resident_bytes=0, workers=CORES)

    def ours() -> int:
        made = 0
        for batch in dataset.batches(32, seed=0, stop_step=count // 32, whole=True):
            index = batch.index.numpy()
            views = policy(batch.images, index=index, seed=0, epoch=0, size=224).views
            made += views.shape[0] * views.shape[1]
        return made

    result = compare(
        ours, loader_sides(files, SimCLRTransform(input_size=224), batch=32), rounds=rounds
    )
    result["kilobytes_a_file"] = round(sum(f.stat().st_size for f in files) / 1000 / count, 1)
    for file in files:
        file.unlink()
    folder.rmdir()
    return result


def write_jpegs(folder: Path, kilobytes: int, count: int) -> list[Path]:
    """Write 640 x 480 files of about a size: detail is added until quality 85 gives it."""
    files = []
    generator = np.random.Generator(np.random.Philox(0))
    for number, image in enumerate(photographs(count, 480, 640)):
        low, high = 0.0, 60.0
        grain = generator.standard_normal((480, 640, 1))
        for _ in range(7):
            middle = (low + high) / 2
            buffer = io.BytesIO()
            noisy = np.clip(image + middle * grain, 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(buffer, "JPEG", quality=85)
            low, high = (middle, high) if buffer.tell() < 1000 * kilobytes else (low, middle)
        files.append(folder / f"{number}.jpg")
        files[-1].write_bytes(buffer.getvalue())
    return files


def blurred(image: Image.Image) -> Image.Image:
    """Blur as PyContrast does, by Pillow: faster than torchvision's on Pillow images."""
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def infomin(*, count: int, rounds: int) -> dict[str, Any]:
    """InfoMin's policy at 224 pixels against timm's RandAugment in the order of PyContrast's D."""
    from timm.data.auto_augment import rand_augment_transform
    from torchvision import transforms as tv

    images = photographs(count, 256, 256)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    policy = views.get("infomin")
    augment = rand_augment_transform(
        "rand-m10-n2-mstd0.5", {"translate_const": 100, "img_mean": (124, 116, 104)}
    )
    one = tv.Compose(
        [
            tv.RandomResizedCrop(224, scale=(0.2, 1.0)),
            tv.RandomHorizontalFlip(),
            tv.RandomApply([tv.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            tv.RandomApply([tv.Lambda(blurred)], p=0.5),
            augment,
            tv.RandomGrayscale(p=0.2),
            tv.ToTensor(),
            tv.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )

    def ours() -> int:
        index = np.arange(count)
        batch = policy(pixels, index=index, seed=0, epoch=0, size=224)
        return batch.views.shape[0] * batch.views.shape[1]

    return compare(
        ours, loader_sides(images, lambda image: [one(image), one(image)], batch=32), rounds=rounds
    )


def job_of(
    images: np.ndarray, *, batch: int, precision: Literal["float32", "bfloat16"], encoder: str
) -> Job:
    """Return coview's own training on images in memory, SimCLR without blur."""
    fabric, _ = devices.start(accelerator="cpu", devices=1, nodes=1, precision=precision)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    settings = Pretraining(
        source=data.open(pixels),
        objective="nt_xent:temperature=0.5",
        views=simclr(blur=False),
        encoder=encoder,
        projector=(0, 128),
        optimizer="sgd",
        learning_rate=0.06,
        batch_size=batch,
    )
    return build_job(fabric, settings, settings.source, steps=10**6)


def stepping(job: Job, steps: int) -> Run:
    """Take so many steps more; checks for finite values and records included."""
    batches = job.batches(0)

    def run() -> int:
        for batch in islice(batches, steps):
            job.step(batch)
            job.state.step += 1
        return 2 * steps * job.batch_size

    return run


def training_step(*, steps: int, batch: int, rounds: int) -> dict[str, Any]:
    """Views, forward, loss, backward and update of a SimCLR step, by coview in both precisions."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    images = photographs(steps * batch, 32, 32)
    encoder = encoders.create("compact", channels=3, size=32, mean=[0.5] * 3, std=[0.2] * 3)
    peer = torch.nn.Sequential(encoder, SimCLRProjectionHead(encoder.dim, encoder.dim, 128))
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.06)

    def theirs(workers: int) -> Run:
        loader = torch.utils.data.DataLoader(
            Mapped(images, SimCLRTransform(input_size=32, gaussian_blur=0.0)),
            batch_size=batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        criterion = NTXentLoss()

        def run() -> int:
            for x0, x1 in loader:
                loss = criterion(peer(x0), peer(x1))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            return 2 * steps * batch

        return run

    ours = {
        precision: stepping(
            job_of(images, batch=batch, precision=precision, encoder="compact"), steps
        )
        for precision in ("bfloat16", "float32")
    }
    loops = {f"loop, {workers} workers": theirs(workers) for workers in (0, CORES)}
    before = load()
    found = rates({**ours, **loops}, rounds=rounds)
    best = max(found[name]["views_per_second"] for name in loops)
    return {
        "sides": found,
        "load_before": before,
        **{
            f"times_faster, {name} to their float32": round(
                found[name]["views_per_second"] / best, 2
            )
            for name in ours
        },
    }


def resnet_share(*, batch: int, rounds: int) -> dict[str, Any]:
    """Share of a ResNet-18's training step that is not its forward and backward pass."""
    shares: dict[str, Any] = {}
    for precision in ("float32", "bfloat16"):
        images = photographs(2 * batch, 32, 32)
        job = job_of(images, batch=batch, precision=precision, encoder="resnet18")
        whole = stepping(job, 1)
        views = torch.rand(2 * batch, 3, 32, 32)

        def alone_in(job: Job = job, views: torch.Tensor = views) -> int:
            with job.fabric.autocast():
                h = job.learner.encoder(views)
            h.backward(torch.ones_like(h) / h.numel())
            job.learner.encoder.zero_grad()
            return len(views)

        found = rates({"step": whole, "encoder": alone_in}, rounds=rounds)
        step, encoder = (found[name]["views_per_second"] for name in ("step", "encoder"))
        shares[precision] = {"sides": found, "outside_the_encoder": round(1 - step / encoder, 4)}
    return shares


def operations(size: int, *, count: int, rounds: int) -> dict[str, Any]:
    """Microseconds an image of each operation that touches it, beyond a crop of everything."""
    pixels = torch.from_numpy(photographs(count, size, size)).permute(0, 3, 1, 2).contiguous()
    whole = RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    rows: dict[str, tuple[Any, ...]] = {
        "nothing": (whole,),
        "crop bilinear": (RandomResizedCrop(),),
        "crop bicubic": (RandomResizedCrop(interpolation="bicubic"),),
        "flip": (whole, HorizontalFlip(probability=1.0)),
        "affine": (whole, Affine(rotation=30.0, probability=1.0)),
        "jitter": (whole, ColorJitter(probability=1.0)),
        "channel jitter": (whole, ChannelJitter(probability=1.0)),
        "grayscale": (whole, Grayscale(probability=1.0)),
        "blur": (whole, GaussianBlur(probability=1.0)),
        "solarize": (whole, Solarize(probability=1.0)),
        "randaugment": (whole, RandAugment(probability=1.0)),
    }
    table: dict[str, Any] = {}
    for name, view in rows.items():
        policy = Policy(name=name, views=(view,))
        costs = {
            form: median_microseconds(policy, pixels, size, fused=form == "fused", rounds=rounds)
            for form in ("fused", "torch")
        }
        base = table["nothing"] if name not in ("nothing", "crop bilinear", "crop bicubic") else {}
        table[name] = {form: round(cost - base.get(form, 0.0), 2) for form, cost in costs.items()}
    return table


def median_microseconds(
    policy: Policy, pixels: torch.Tensor, size: int, *, fused: bool, rounds: int
) -> float:
    """Return microseconds an image of making one view, draws included."""
    index = np.arange(len(pixels))
    can_fuse = engine.can_fuse
    if not fused:
        engine.can_fuse = lambda images, views: False
    try:
        times = []
        for _ in range(rounds + 1):
            started = time.perf_counter()
            policy(pixels, index=index, seed=0, epoch=0, size=size)
            times.append(time.perf_counter() - started)
    finally:
        engine.can_fuse = can_fuse
    return statistics.median(times[1:]) * 1e6 / len(pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few images; writes no record")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    quick = asked.quick
    rounds = 1 if quick else asked.rounds
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        **{
            f"{name}-{size}": partial(
                in_memory,
                size,
                blur=name == "blur",
                count=64 if quick else count,
                rounds=rounds,
            )
            for name in ("simclr", "blur")
            for size, count in ((32, 4096), (96, 1024))
        },
        "jpeg-20kB": lambda: from_files(20, count=32 if quick else 512, rounds=rounds),
        "jpeg-100kB": lambda: from_files(100, count=32 if quick else 512, rounds=rounds),
        "infomin-224": lambda: infomin(count=8 if quick else 256, rounds=rounds),
        "step-32": lambda: training_step(
            steps=1 if quick else 8, batch=16 if quick else 256, rounds=rounds
        ),
        "resnet18-32": lambda: resnet_share(batch=16 if quick else 256, rounds=rounds),
        "operations-32": lambda: operations(32, count=16 if quick else 512, rounds=rounds),
        "operations-224": lambda: operations(224, count=4 if quick else 64, rounds=rounds),
    }
    record: dict[str, Any] = {"benchmark": "views", "cores": CORES, "at_most_rounds": rounds}
    with alone():
        record["environment"] = environment("cpu")
        for name, part in parts.items():
            if not asked.only or name in asked.only:
                record[name] = part()
                print(name, {k: v for k, v in record[name].items() if k != "sides"})
                for side, found in record[name].get("sides", {}).items():
                    print(f"  {side:24} {found['views_per_second']:10.1f} views/s")
    if not quick:
        known = HERE / "views.json"
        kept = json.loads(known.read_text()) if asked.only and known.is_file() else {}
        print(write("views", kept | record))


if __name__ == "__main__":
    main()
