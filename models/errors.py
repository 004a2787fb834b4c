"""Errors of models and weights; each message says what is wrong and what to do."""


class ModelError(Exception):
    """A model cannot be built as asked."""


class WeightsError(ModelError):
    """Weights are missing, not loadable, or those of another model."""
