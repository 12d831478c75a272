"""Encoders: backbones, the encoder with its preprocessing, its heads, batch norm over ranks."""

from coview.encoders.backbones import build, is_known, names
from coview.encoders.batch_norm import SynchronizedBatchNorm, synchronize_batch_norm
from coview.encoders.compact import Compact
from coview.encoders.encoder import Encoder, create, load_weights, read_weights
from coview.encoders.heads import JigsawHead, Projector, Target, predictor
from coview.encoders.split import (
    SplitBackbone,
    SplitProjector,
    create_split,
    split_channels,
)

__all__ = [
    "Compact",
    "Encoder",
    "JigsawHead",
    "Projector",
    "SplitBackbone",
    "SplitProjector",
    "SynchronizedBatchNorm",
    "Target",
    "build",
    "create",
    "create_split",
    "is_known",
    "load_weights",
    "names",
    "predictor",
    "read_weights",
    "split_channels",
    "synchronize_batch_norm",
]
