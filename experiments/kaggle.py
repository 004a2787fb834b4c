"""What the scripts on the Kaggle blood cells share: their splits, honest or leaking on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from datasets.protocols import Protocol, open_protocol
from datasets.published import PublishedSet, select_parts
from datasets.samples import SampleSet, limit_training
from experiments.classifiers import PublishedOptions

VAL_FRACTION: Final = 0.15
TEST_FRACTION: Final = 0.2
"""As large as the published TEST, 2,487 of 12,444."""


@dataclass(frozen=True)
class KaggleOptions(PublishedOptions):
    """Options of a script on the Kaggle blood cells."""

    def __post_init__(self) -> None:
        """Refuse to do without the photographs.

        Raises:
            ValueError: Naming the flag.
        """
        super().__post_init__()
        if not self.find_copies:
            raise ValueError(
                "--no-find-copies: the file names do not tell the photograph, so without the "
                "search neither splits nor intervals by photograph are possible. Leave it out."
            )


def read_kaggle(options: KaggleOptions) -> PublishedSet:
    """Return TRAIN and TEST of the Kaggle blood cells; TEST_SIMPLE stays out.

    Raises:
        DatasetError: The set is not there.
    """
    return select_parts(options.read("kaggle_blood_cells"), "TEST", pool=False)


def draw_kaggle(
    options: KaggleOptions, published: PublishedSet, *, pool: bool, is_leaky: bool
) -> SampleSet:
    """Return what `read_kaggle` returned with splits.

    The draw is the same for every ``--seed``, so that runs of several seeds share their test.

    Args:
        options: Of the script.
        published: TRAIN and TEST.
        pool: Draw the test from TRAIN and TEST together; otherwise TEST is the test.
        is_leaky: Draw single images instead of photographs.

    Raises:
        UnreadableImageError: A file does not decode.
        DatasetError: A class has too few photographs.
    """
    if pool:
        published = select_parts(published, None, pool=True)
    protocol = Protocol(VAL_FRACTION, TEST_FRACTION, is_leaky=is_leaky)
    cells = open_protocol(
        published, protocol, options.cache_root, skip_unreadable=options.skip_unreadable
    )
    return limit_training(cells, options.max_train_images)


def describe_siblings(cells: SampleSet) -> dict[str, float]:
    """Return, of validation and test, the share of images with a sibling in training."""
    return {split: cells.share_with_sibling(split) for split in ("val", "test")}
