"""Encoders: backbones, the encoder with its preprocessing, projector and target."""

from coview.encoders.backbones import build, is_known, names
from coview.encoders.compact import Compact
from coview.encoders.encoder import Encoder, create, load_weights, read_weights
from coview.encoders.heads import Projector, Target

__all__ = [
    "Compact",
    "Encoder",
    "Projector",
    "Target",
    "build",
    "create",
    "is_known",
    "load_weights",
    "names",
    "read_weights",
]
