"""Staged unfreezing of a pretrained trunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbone_classifier import BackboneClassifier
from models.normalization import freeze_batch_norm
from trainers.hooks.base import Hook

if TYPE_CHECKING:
    from trainers.trainer import Trainer


class UnfreezingHook(Hook):
    """Lets the trunk learn, or not, as the stage of the epoch says.

    The one hook that changes what is learnt. What it does is a function of the epoch alone, so it
    has no state and a resumed run is the same. The rates of a stage are those of the schedule.
    """

    def before_epoch(self, trainer: Trainer) -> None:
        """Freeze or unfreeze; the model is in training mode when this is called.

        Raises:
            TypeError: The trainer's model has no trunk.
        """
        model = trainer.model.module
        if not isinstance(model, BackboneClassifier):
            raise TypeError(f"Stages need a BackboneClassifier, not a {type(model).__name__}.")
        config = trainer.config
        stage = config.stages[config.stage_at(trainer.epoch)]
        model.trunk.requires_grad_(stage.trunk_lr is not None)
        if stage.trunk_lr is None:
            model.trunk.eval()
        elif not stage.train_batch_norm:
            freeze_batch_norm(model.trunk, frozen=True)
