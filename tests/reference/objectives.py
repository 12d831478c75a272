"""The objectives once more: Python floats and explicit loops, one file a family."""

from reference import (
    dimension_contrastive,
    mutual_information,
    prediction,
    sample_contrastive,
)

REFERENCES = {
    **sample_contrastive.REFERENCES,
    **dimension_contrastive.REFERENCES,
    **prediction.REFERENCES,
    **mutual_information.REFERENCES,
}
