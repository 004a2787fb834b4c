"""Errors of runs and trainings; each message says what is wrong and what to do."""


class RunError(Exception):
    """A run folder cannot be used as asked."""


class CheckpointError(RunError):
    """A checkpoint is broken, cannot be written, or belongs to another model."""


class NonFiniteError(RunError):
    """A loss or gradient is not finite; the model was not updated with it."""


class InterruptedRunError(RunError):
    """The user stopped a run; its state is in a checkpoint."""
