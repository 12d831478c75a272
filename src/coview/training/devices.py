"""Devices, precision and processes: everything that Lightning Fabric does for us."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from lightning_fabric import Fabric

from coview.typing import Precision

Accelerator = Literal["auto", "cpu", "cuda", "mps"]


def gains_from_bfloat16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def gains_from_channels_last(device: torch.device) -> bool:
    """Tell whether convolutions on the device are faster with channels stored last."""
    return device.type in ("cpu", "cuda")


def start(
    *, accelerator: Accelerator, devices: int, nodes: int, precision: Precision
) -> tuple[Fabric, str]:
    """Start the processes of a run.

    Several devices are started by Fabric itself, by `torchrun` or by SLURM, whichever is there.

    Returns:
        Fabric, and the precision that `auto` stands for: `float32` or `bfloat16`.
    """
    with _quiet():
        probe = Fabric(accelerator=accelerator, devices=1)
        if precision == "auto":
            precision = "bfloat16" if gains_from_bfloat16(probe.device) else "float32"
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            precision="bf16-mixed" if precision == "bfloat16" else "32-true",
            strategy="ddp" if devices * nodes > 1 else "auto",
        )
        fabric.launch()
    return fabric, precision


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Fabric from telling what a run announces itself."""
    log = logging.getLogger("lightning_fabric")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
