"""The shapes and units that the whole package speaks; imports nothing from coview.

Values: pixels are uint8 in [0, 255] or floats in [0, 1]; information is in nats.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

Device = torch.device | str

Pixels = UInt8[Tensor, "batch channel height width"]
"""Stored images, 0 to 255."""

Picture = UInt8[Tensor, "channel _ _"]
"""One stored image of any sides, 0 to 255."""

Images = Float[Tensor, "batch channel height width"]
"""Images in [0, 1]."""

AnyImages = Shaped[Tensor, "batch channel height width"]
"""Either of the two: uint8 in [0, 255] or floats in [0, 1]."""

Views = Float[Tensor, "view batch channel height width"]
"""Views in [0, 1], the view axis first."""

Representations = Float[Tensor, "batch dim"]
"""Encoder outputs h: what probes use."""

Embeddings = Float[Tensor, "view batch dim"]
"""Projector outputs z: what objectives use."""

Indices = Int[Tensor, " batch"]
"""Positions in a source, int64."""

Scalar = Float[Tensor, ""]

Precision = Literal["auto", "float32", "bfloat16"]
