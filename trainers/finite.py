"""Checks that values are finite, before they do damage; what is not is named."""

# N samples, K values a sample

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from datasets.samples import Sample
from trainers.errors import NonFiniteError
from trainers.outputs import Outputs

_MAX_NAMED: Final = 16


def require_finite(
    what: str, value: Tensor, batch: Sequence[Sample], last_checkpoint: Path | None
) -> None:
    """Raise if `value` of a training step is not finite.

    Args:
        what: It is, and of which step.
        value: Any shape.
        batch: Samples of the step.
        last_checkpoint: The newest whole state, which the message names.

    Raises:
        NonFiniteError: It is not.
    """
    if torch.isfinite(value).all():
        return
    kept = f" The last good checkpoint is {last_checkpoint}." if last_checkpoint else ""
    raise NonFiniteError(
        f"The {what} is not finite; the model was not updated with it. Images of the batch: "
        f"{_name(batch)}.{kept} Look at these images, or lower --lr and pass --overwrite."
    )


def require_finite_outputs(
    outputs: Outputs, samples: Sequence[Sample], last_checkpoint: Path | None
) -> None:
    """Raise if the model's values (N, K) of some samples are not finite, before they are scored.

    Args:
        outputs: Of an evaluation.
        samples: That were evaluated.
        last_checkpoint: The newest whole state, which the message names.

    Raises:
        NonFiniteError: Naming split and images.
    """
    wrong = ~torch.isfinite(outputs.values).all(dim=1)
    if not wrong.any():
        return
    bad = [samples[index] for index in outputs.indices[wrong].tolist()]
    kept = f" The last good checkpoint is {last_checkpoint}." if last_checkpoint else ""
    raise NonFiniteError(
        f"The model's values of {len(bad)} of {len(outputs.indices)} {bad[0].split} images are not "
        f"finite: {_name(bad)}. Nothing was written with them.{kept} Look at these images; if it "
        "is all of them, lower --lr and pass --overwrite."
    )


def _name(samples: Sequence[Sample]) -> str:
    more = f" and {len(samples) - _MAX_NAMED} more" if len(samples) > _MAX_NAMED else ""
    return ", ".join(sample.sample_id for sample in samples[:_MAX_NAMED]) + more
