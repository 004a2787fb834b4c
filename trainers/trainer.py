"""The training loop."""

# B batch, K outputs a sample, N samples

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from datasets.transforms import augment
from models.backbone_classifier import split_parameters
from trainers.checkpoint import load_model_state, load_rng_state, rng_state, save_checkpoint
from trainers.config import TrainerConfig
from trainers.data import TrainingData, split_batch
from trainers.errors import CheckpointError, InterruptedRunError, RunError
from trainers.finite import require_finite, require_finite_outputs
from trainers.hooks.base import Hook
from trainers.optim import build_optimizer, build_schedule
from trainers.outputs import BatchOutputs, Outputs, gather_objects, gather_outputs
from trainers.resident import Loading
from trainers.sampling import EpochBatches, seeded_generator
from trainers.stopping import StopRequest

log = logging.getLogger(__name__)


class Trainer(ABC):
    """Fits a model; a subclass says what the loss of a batch and the metrics of a split are.

    Args:
        fabric: Launched.
        model: Its parameters that require a gradient are trained.
        train_data: Shuffled each epoch.
        val_data: Evaluated after each epoch.
        config: Hyper-parameters.
        hooks: Called in this order.

    Attributes:
        epoch: Number of epochs done.
        step_in_epoch: Number of steps done in the current epoch.
        global_step: Number of updates done.
        metrics: Of the last epoch, tags like ``train/loss`` and ``val/loss``.
        val_outputs: Of the last validation.
        gradient_norm: Of the last step, before clipping.
        images_per_second: Of the last epoch's training steps, over all processes.
        images_trained: Images of all training steps so far, over all processes.
        train_seconds: Time of all training steps so far.
        last_checkpoint: Where the newest whole state lies, once a hook has written one.
        stop: Asked between steps.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        train_data: TrainingData,
        val_data: TrainingData,
        config: TrainerConfig,
        hooks: Sequence[Hook],
    ) -> None:
        self.fabric = fabric
        self.config = config
        self.hooks = list(hooks)
        self.train_data = train_data
        self.val_data = val_data
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer: Any
        self.model: Any
        self.model, self.optimizer = fabric.setup(
            model, build_optimizer(split_parameters(model), config)
        )
        self.train_batches = EpochBatches(
            len(train_data),
            config.batch_size * config.accumulate,
            shuffle=True,
            seed=config.seed,
            labels=train_data.labels,
            balanced=config.balanced_sampling,
            images_per_class=config.images_per_class,
            num_views=config.views,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )
        repeated = [train_data, val_data] if config.keep_on_gpu else []
        self._loading = Loading(fabric, config.num_workers, repeated)
        self.train_loader = self._loading.open(train_data, self.train_batches)
        # After the loaders: only now is the number of steps a process known.
        self.scheduler = build_schedule(self.optimizer, config, len(self.train_batches))
        self.epoch = 0
        self.step_in_epoch = 0
        self.global_step = 0
        self.loss = float("nan")
        self.gradient_norm = float("nan")
        self.images_per_second = float("nan")
        self.images_trained = 0
        self.train_seconds = 0.0
        self.metrics: dict[str, float] = {}
        self.val_outputs: Outputs | None = None
        self.last_checkpoint: Path | None = None
        self.stop = StopRequest()
        self._seen: list[BatchOutputs] = []

    @abstractmethod
    def compute_loss(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the batch's loss, a scalar, and the values (B, K) that `metrics_of` needs.

        ``batch["image"]`` is float (B, 3, H, W) in [0, 1], augmented if the config says so.
        """

    @abstractmethod
    def metrics_of(self, outputs: Outputs) -> dict[str, float]:
        """Return a split's metrics by name; ``loss`` is among them and selects the best epoch."""

    def fit(self) -> None:
        """Train to the last epoch, from wherever `load_state_dict` has put the trainer.

        Raises:
            NonFiniteError: Before the update, if the loss or a gradient is not finite; before the
                checkpoint, if values of validation images are not.
            RunError: Batch normalization cannot learn from a batch of one image.
            InterruptedRunError: After a checkpoint, if the user stopped the run.
        """
        with self.stop:
            ended_by: BaseException | None = None
            try:
                self._call("before_fit")
                while self.epoch < self.config.epochs:
                    # Before the hooks, which may put parts of it back into evaluation mode.
                    self.model.train()
                    self._call("before_epoch")
                    self._train_epoch()
                    self._validate()
                    self._call("after_validation")
                    self.epoch += 1
                    self.step_in_epoch = 0
                    self._seen = []
                    self._call("after_epoch")
            except BaseException as error:
                ended_by = error
                for hook in self.hooks:
                    hook.on_exception(self, error)
                raise
            finally:
                self._call_after_fit(ended_by)

    def train_step(self, batch: dict[str, Any]) -> None:
        """Update the model once; the order of these lines is the algorithm."""
        try:
            loss = self._backward(batch)
        except ValueError as error:
            raise _explain_batch_of_one(error, batch) from error
        trained = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained])
        self._require_finite("gradient", norm, batch)
        self.loss, self.gradient_norm = loss.item(), norm.item()
        self._call("after_backward")
        if self.config.clip == "value":
            self.fabric.clip_gradients(self.model, self.optimizer, clip_val=self.config.clip_limit)
        elif self.config.clip == "norm":
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.clip_limit)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.step_in_epoch += 1
        self.global_step += 1

    def weigh(self, labels: Tensor) -> Tensor:
        """Return the weight, a scalar, of samples with `labels` (B,) in a mean loss."""
        return torch.tensor(float(len(labels)), device=labels.device)

    @torch.no_grad()
    def evaluate(self, data: TrainingData) -> Outputs:
        """Return the model's values for every sample of `data`, each once, in evaluation mode.

        Raises:
            NonFiniteError: Values are not finite.
        """
        model = self.model.module
        training = model.training
        model.eval()
        self._share_buffers(model)
        batches = EpochBatches(
            len(data),
            self.config.batch_size,
            shuffle=False,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        seen = []
        for batch in self._loading.open(data, batches):
            batch["image"] = self._to_float(batch["image"])
            _, values = self.compute_loss(batch)
            seen.append((batch["index"], values.float(), batch["label"]))
        model.train(training)
        outputs = gather_outputs(self.fabric, seen)
        require_finite_outputs(outputs, data.samples, self.last_checkpoint)
        return outputs

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs, in plain types and tensors.

        Called by all processes, since each has seen samples of its own in this epoch.
        """
        seen = [tuple(part.cpu() for part in parts) for parts in self._seen]
        return {
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "global_step": self.global_step,
            "images_trained": self.images_trained,
            "train_seconds": self.train_seconds,
            "model": self.model.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "processes": gather_objects(self.fabric, {"seen": seen, "rng": rng_state()}),
            "hooks": {type(hook).__name__: hook.state_dict() for hook in self.hooks},
        }

    def load_state_dict(self, state: dict[str, Any], source: Path) -> None:
        """Take back what `state_dict` returned.

        Raises:
            CheckpointError: The state, read from `source`, is that of another model or incomplete.
        """
        try:
            load_model_state(self.model.module, state["model"], source)
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self.epoch = int(state["epoch"])
            self.step_in_epoch = int(state["step_in_epoch"])
            self.global_step = int(state["global_step"])
            self.images_trained = int(state["images_trained"])
            self.train_seconds = float(state["train_seconds"])
            # Of one process, checkpoints of earlier versions have both by themselves.
            own = state["processes"][self.fabric.global_rank] if "processes" in state else state
            self._seen = [tuple(parts) for parts in own["seen"]]
            load_rng_state(own["rng"])
            for hook in self.hooks:
                hook.load_state_dict(state["hooks"][type(hook).__name__])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{source} is no complete checkpoint of this training ({error!r}). Pass "
                "--overwrite to start again."
            ) from error

    def save(self, path: Path) -> None:
        """Write a checkpoint of the whole state; called by all processes."""
        save_checkpoint(self.fabric, path, self.state_dict())
        self.last_checkpoint = path

    def _train_epoch(self) -> None:
        self.train_batches.set_position(self.epoch, self.step_in_epoch)
        images_before, seconds_before = self.images_trained, self.train_seconds
        start = time.perf_counter()
        for batch in self.train_loader:
            batch["image"] = self._augment(self._to_float(batch["image"]))
            self.train_step(batch)
            self.images_trained += len(batch["index"]) * self.fabric.world_size
            self.train_seconds += time.perf_counter() - start
            self._call("after_step")
            if self.stop.agreed(self.fabric):
                raise InterruptedRunError(
                    f"Stopped in epoch {self.epoch + 1} after step {self.global_step}."
                )
            start = time.perf_counter()
        seconds = max(self.train_seconds - seconds_before, 1e-9)
        self.images_per_second = (self.images_trained - images_before) / seconds

    def _backward(self, batch: dict[str, Any]) -> Tensor:
        """Return the loss of `batch`, whose parts go forward and backward one after the other."""
        parts = split_batch(batch, self.config.batch_size)
        total = self.weigh(batch["label"])
        losses = []
        for number, part in enumerate(parts, start=1):
            # Processes share their gradients once an update.
            with self.fabric.no_backward_sync(self.model, enabled=number < len(parts)):
                loss, values = self.compute_loss(part)
                self._require_finite("loss", loss, part)
                loss = loss * (self.weigh(part["label"]) / total)
                self.fabric.backward(loss)
            losses.append(loss.detach())
            self._seen.append((part["index"], values.detach().float(), part["label"]))
        return torch.stack(losses).sum()

    def _validate(self) -> None:
        train = self.metrics_of(gather_outputs(self.fabric, self._seen))
        self.val_outputs = self.evaluate(self.val_data)
        val = self.metrics_of(self.val_outputs)
        self.metrics = {f"train/{name}": value for name, value in train.items()}
        self.metrics |= {f"val/{name}": value for name, value in val.items()}

    def _to_float(self, images: Tensor) -> Tensor:
        return images.to(torch.float32, memory_format=torch.channels_last) / 255

    def _augment(self, images: Tensor) -> Tensor:
        if self.config.augment == "none":
            return images
        generator = seeded_generator(
            self.config.seed, self.epoch, self.step_in_epoch, self.fabric.global_rank
        )
        return augment(images, self.config.augment, generator)

    def _require_finite(self, what: str, value: Tensor, batch: dict[str, Any]) -> None:
        samples = [self.train_data.samples[index] for index in batch["index"].tolist()]
        step = f"{what} of step {self.global_step + 1} (epoch {self.epoch + 1})"
        require_finite(step, value, samples, self.last_checkpoint)

    def _share_buffers(self, model: nn.Module) -> None:
        """Give all processes the running statistics of process 0, which differ by its samples."""
        if self.fabric.world_size > 1:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def _call(self, event: str) -> None:
        for hook in self.hooks:
            getattr(hook, event)(self)

    def _call_after_fit(self, ended_by: BaseException | None) -> None:
        """Call every hook; raise the first failure unless the fit was `ended_by` another one."""
        failures = []
        for hook in self.hooks:
            try:
                hook.after_fit(self)
            except Exception as failure:  # noqa: BLE001 (none may keep the next from its check)
                failures.append(failure)
        first = failures.pop(0) if failures and ended_by is None else None
        for further in failures:
            log.error("Also failed at the end of the fit: %s", further)
        if first is not None:
            raise first


def _explain_batch_of_one(error: ValueError, batch: dict[str, Any]) -> Exception:
    """Return what to do where PyTorch refuses to normalise one value by itself."""
    if len(batch["index"]) > 1 or "more than 1 value per channel" not in str(error):
        return error
    return RunError(
        "Batch normalization cannot learn from a batch of one image where the map is 1x1 "
        f"({error}). Pass --batch-size 2 or more, larger images (--input-size), or --norm group "
        "where the script has these flags; a training set of one image cannot be learnt from."
    )
