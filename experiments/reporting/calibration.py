"""How far predicted probabilities can be believed, and temperature scaling.

A calibrated model that says 0.8 is right in 80 % of such cases (Guo et al., 2017).
"""

# N images, K classes, G groups, B draws, M bins

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from experiments.reporting.statistics import (
    Estimate,
    Floats,
    bootstrap_groups,
    estimate_share,
    find_interval,
)

NUM_BINS: Final = 15
"""As trainers/metrics.py."""
ScoreName = Literal["expected_calibration_error", "brier", "negative_log_likelihood"]
SCORE_NAMES: Final[tuple[ScoreName, ...]] = (
    "expected_calibration_error",
    "brier",
    "negative_log_likelihood",
)
LEAST_TEMPERATURE: Final = 0.01
MOST_TEMPERATURE: Final = 100.0
LEAST_PROB: Final = 1e-300
"""What counts for a probability of 0, whose logarithm would be no number."""
_SUM_TOLERANCE: Final = 1e-3
_NO_GAIN: Final = 1e-9


@dataclass(frozen=True)
class Forecast:
    """Probabilities of images beside what the images are.

    Attributes:
        probs: (N, K), rows sum to 1.
        labels: Index of the true class, (N,).
        groups: (N,).
    """

    probs: Floats
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]

    @property
    def confidence(self) -> Floats:
        """Probability of the class that is named, (N,)."""
        highest: Floats = self.probs.max(axis=1)
        return highest

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether that class is the true one, (N,)."""
        right: NDArray[np.bool_] = self.probs.argmax(axis=1) == self.labels
        return right

    def scale(self, temperature: float) -> Forecast:
        """Return softmax(log(probs) / temperature); which class is named stays the same."""
        scaled = np.exp(log_softmax(_to_log(self.probs) / temperature, axis=1))
        return Forecast(scaled, self.labels, self.groups)


@dataclass(frozen=True)
class Temperature:
    """A temperature and what it was fitted on.

    Attributes:
        value: Above 1: the model was too sure of itself.
        nll_before: Mean negative log-likelihood (nats) of the images that it was fitted on.
        nll_after: The same with the temperature.
        num_images: So many.
        num_groups: In so many groups.
        is_at_limit: The likelihood rises up to the end of the range that was searched: e.g. all
            images are named rightly, and no finite temperature is best.
    """

    value: float
    nll_before: float
    nll_after: float
    num_images: int
    num_groups: int
    is_at_limit: bool


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose named class has a probability from `low` to below `high`; the last has 1 too.

    Attributes:
        low: Lower end.
        high: Upper end.
        confidence: Mean probability of the named class; NaN if empty.
        accuracy: Share named rightly, with its interval over groups; NaN if empty.
    """

    low: float
    high: float
    confidence: float
    accuracy: Estimate


def read_forecast(frame: pd.DataFrame, classes: Sequence[str], where: str) -> Forecast:
    """Return predictions as `Forecast`.

    Args:
        frame: As `FinishedRun.predictions` gives it.
        classes: K names.
        where: What it is, for the error.

    Raises:
        ValueError: The probabilities are none.
    """
    probs = frame[[f"prob_{name}" for name in classes]].to_numpy(float)
    off = (probs < 0).any(axis=1) | (abs(probs.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if off.any():
        row = int(np.argmax(off))
        raise ValueError(
            f"{where} holds {int(off.sum())} rows that are no probabilities, e.g. "
            f"{frame['sample_id'].iloc[row]}: they must be 0 or more and sum to 1, not to "
            f"{probs[row].sum():.4g}."
        )
    index = {name: position for position, name in enumerate(classes)}
    labels = frame["label"].map(index).to_numpy(np.int64)
    return Forecast(probs, labels, frame["group"].to_numpy(str))


def fit_temperature(val: Forecast) -> Temperature:
    """Return the temperature of least negative log-likelihood (Guo et al., 2017, section 4.2).

    Of ``softmax(log(p) / T)`` it is convex in 1 / T, so that the one minimum is found.

    Args:
        val: Of the validation split, never of the images that are then reported.
    """
    logs = _to_log(val.probs)

    def mean_loss(log_temperature: float) -> float:
        scaled = logs * np.exp(-log_temperature)
        rows = np.arange(len(scaled))
        return float((logsumexp(scaled, axis=1) - scaled[rows, val.labels]).mean())

    bounds = (np.log(LEAST_TEMPERATURE), np.log(MOST_TEMPERATURE))
    found = minimize_scalar(mean_loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    value = float(np.exp(found.x))
    return Temperature(
        value,
        mean_loss(0),
        float(found.fun),
        len(val.labels),
        len(np.unique(val.groups)),
        is_at_limit=bool(min(map(mean_loss, bounds)) <= found.fun + _NO_GAIN),
    )


def estimate_scores(forecast: Forecast) -> dict[ScoreName, Estimate]:
    """Return the scores with intervals over groups.

    ``expected_calibration_error`` (15 equal bins, L1; a probability of exactly 1 is a bin of its
    own, as in torchmetrics), ``brier`` (sum of squares over classes, in [0, 2]) and
    ``negative_log_likelihood`` (nats). The first is never negative, so that chance alone lifts it:
    few images look worse calibrated than they are. Draws of the images lift it once more; its draws
    are moved back by their bias, or the interval would lie above the value.
    """
    draws, values = _draw_scores(forecast), score_forecast(forecast)
    num_images, num_groups = len(forecast.labels), len(np.unique(forecast.groups))
    found: dict[ScoreName, Estimate] = {}
    for name, value in values.items():
        low, high = _find_unbiased_interval(name, draws[name], value)
        found[name] = Estimate(value, max(low, 0.0), high, num_images, num_groups)
    return found


def estimate_changes(before: Forecast, after: Forecast) -> dict[ScoreName, tuple[float, ...]]:
    """Return change, low and high of each score, after less before, by the same draws of groups.

    Args:
        before: Of some images.
        after: Of the same images in the same order.
    """
    first, second = _draw_scores(before), _draw_scores(after)
    values, scaled = score_forecast(before), score_forecast(after)
    changes: dict[ScoreName, tuple[float, ...]] = {}
    for name in SCORE_NAMES:
        change = scaled[name] - values[name]
        interval = _find_unbiased_interval(name, second[name] - first[name], change)
        changes[name] = (change, *interval)
    return changes


def score_forecast(forecast: Forecast) -> dict[ScoreName, float]:
    """Return the scores of `estimate_scores` without intervals."""
    scorers, num_groups = _make_scorers(forecast)
    return {name: float(scorer(np.ones((1, num_groups)))[0]) for name, scorer in scorers.items()}


def find_bins(forecast: Forecast, num_bins: int = NUM_BINS) -> list[ReliabilityBin]:
    """Return equal bins of the named class's probability, from 0 to 1."""
    edges = np.linspace(0, 1, num_bins + 1)
    confidence, is_right = forecast.confidence, forecast.is_right
    places = np.minimum(_find_places(confidence, num_bins), num_bins - 1)
    bins = []
    for place in range(num_bins):
        inside = places == place
        mean = float(confidence[inside].mean()) if inside.any() else float("nan")
        share = estimate_share(is_right & inside, inside, forecast.groups)
        bins.append(ReliabilityBin(float(edges[place]), float(edges[place + 1]), mean, share))
    return bins


def _to_log(probs: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(probs, LEAST_PROB))
    return logs


def _find_places(confidence: Floats, num_bins: int) -> NDArray[np.intp]:
    """Return the bin of each image; `num_bins` is that of exactly 1."""
    # Single precision, as torchmetrics: what rounds to 1 there is in the bin of 1.
    edges = np.linspace(0, 1, num_bins + 1, dtype=np.float32)
    return np.searchsorted(edges, confidence.astype(np.float32), side="right") - 1


def _find_unbiased_interval(name: ScoreName, draws: Floats, value: float) -> tuple[float, float]:
    """Return the interval; of the calibration error from draws whose mean is moved to `value`."""
    if name == "expected_calibration_error" and len(draws):
        draws = draws - (draws.mean() - value)
    return find_interval(draws)


def _draw_scores(forecast: Forecast) -> dict[ScoreName, Floats]:
    scorers, num_groups = _make_scorers(forecast)
    return {name: bootstrap_groups(scorer, num_groups) for name, scorer in scorers.items()}


def _make_scorers(
    forecast: Forecast,
) -> tuple[Mapping[ScoreName, Callable[[Floats], Floats]], int]:
    """Return functions from weights of groups (B, G) to scores (B,), and G."""
    names, of_image = np.unique(forecast.groups, return_inverse=True)
    rows = np.arange(len(of_image))
    sizes = np.bincount(of_image).astype(float)
    gaps = np.zeros((len(names), NUM_BINS + 1))
    places = _find_places(np.minimum(forecast.confidence, 1), NUM_BINS)
    np.add.at(gaps, (of_image, places), forecast.confidence - forecast.is_right)
    is_class = np.eye(forecast.probs.shape[1])[forecast.labels]
    squares = np.bincount(of_image, ((forecast.probs - is_class) ** 2).sum(axis=1)).astype(float)
    losses = np.bincount(of_image, -_to_log(forecast.probs)[rows, forecast.labels]).astype(float)

    def calibration_error(weights: Floats) -> Floats:
        error: Floats = abs(weights @ gaps).sum(axis=1) / (weights @ sizes)
        return error

    def mean_of(sums: Floats) -> Callable[[Floats], Floats]:
        return lambda weights: (weights @ sums) / (weights @ sizes)

    return {
        "expected_calibration_error": calibration_error,
        "brier": mean_of(squares),
        "negative_log_likelihood": mean_of(losses),
    }, len(names)
