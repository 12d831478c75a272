"""Encoders: backbones, the encoder with its preprocessing, its heads, batch norm over ranks."""

from coview.encoders.backbones import build, is_known, names
from coview.encoders.batch_norm import SynchronizedBatchNorm, synchronize_batch_norm
from coview.encoders.compact import Compact
from coview.encoders.encoder import Encoder, create, load_weights, read_weights
from coview.encoders.heads import Projector, Target, predictor

__all__ = [
    "Compact",
    "Encoder",
    "Projector",
    "SynchronizedBatchNorm",
    "Target",
    "build",
    "create",
    "is_known",
    "load_weights",
    "names",
    "predictor",
    "read_weights",
    "synchronize_batch_norm",
]
