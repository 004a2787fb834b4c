"""Where each published set can be had: an address where it is open, steps where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class RemoteFile:
    """A file that anyone may fetch.

    Attributes:
        name: Under which it is kept.
        url: Its address.
        checksum: ``md5:`` or ``sha256:`` and hex digits; None if none is published, or if two
            publications contradict each other.
        size: In words; empty if not published.
        is_usual: Whether it is fetched without being asked for by name.
    """

    name: str
    url: str
    checksum: str | None = None
    size: str = ""
    is_usual: bool = True


_ZENODO_MEDMNIST: Final = "https://zenodo.org/records/10519652/files"
_ZENODO_PCAM: Final = "https://zenodo.org/record/2546921/files"


def _pcam(part: str, kind: str, size: str, checksum: str | None = None) -> RemoteFile:
    name = f"camelyonpatch_level_2_split_{part}_{kind}.h5.gz"
    return RemoteFile(name, f"{_ZENODO_PCAM}/{name}?download=1", checksum, size)


FILES: Final[dict[str, tuple[RemoteFile, ...]]] = {
    "pbc": (
        RemoteFile(
            "PBC_dataset_normal_DIB.zip",
            "https://data.mendeley.com/public-files/datasets/snkd93bnjr/files/"
            "2fc38728-2ae7-4a62-a857-032af82334c3/file_downloaded",
        ),
    ),
    "segmentation_wbc": (
        RemoteFile(
            "segmentation_WBC.zip",
            "https://github.com/zxaoyou/segmentation_WBC/archive/refs/heads/master.zip",
        ),
    ),
    "bccd": (
        RemoteFile(
            "BCCD_Dataset.zip",
            "https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip",
        ),
    ),
    # MD5 as in medmnist/info.py, version 3.
    "bloodmnist": (
        RemoteFile(
            "bloodmnist.npz",
            f"{_ZENODO_MEDMNIST}/bloodmnist.npz?download=1",
            "md5:7053d0359d879ad8a5505303e11de1dc",
        ),
        RemoteFile(
            "bloodmnist_64.npz",
            f"{_ZENODO_MEDMNIST}/bloodmnist_64.npz?download=1",
            "md5:2b94928a2ae4916078ca51e05b6b800b",
            is_usual=False,
        ),
        RemoteFile(
            "bloodmnist_128.npz",
            f"{_ZENODO_MEDMNIST}/bloodmnist_128.npz?download=1",
            "md5:adace1e0ed228fccda1f39692059dd4c",
            is_usual=False,
        ),
        RemoteFile(
            "bloodmnist_224.npz",
            f"{_ZENODO_MEDMNIST}/bloodmnist_224.npz?download=1",
            "md5:b718ff6835fcbdb22ba9eacccd7b2601",
            "1.5 GB",
            is_usual=False,
        ),
    ),
    # Sizes and MD5 as in the authors' README. Those of valid and test stand there the other way
    # round than in torchvision, so they are left unknown.
    "pcam": (
        _pcam("train", "x", "6.1 GB", "md5:1571f514728f59376b705fc836ff4b63"),
        _pcam("train", "y", "21 KB", "md5:35c2d7259d906cfc8143347bb8e05be7"),
        _pcam("valid", "x", "0.8 GB"),
        _pcam("valid", "y", "3 KB"),
        _pcam("test", "x", "0.8 GB"),
        _pcam("test", "y", "3 KB"),
    ),
}
"""By source: files that are openly downloadable."""

STEPS: Final[dict[str, str]] = {
    "wbc_bundle": "The bundle is handed out by the course. Place its folders WBC_100, WBC_50, "
    "WBC_10 and WBC_1 in OUT.",
    "camelyon16": "The tiles are handed out by the course: place CAM16_100cls_10mask in OUT. The "
    "slides they come from are at https://camelyon17.grand-challenge.org/Data/.",
    "prcc": "The images are handed out by the course: place pRCC_nolabel in OUT. Slides of the "
    "same kind (TCGA-KIRP) are at https://portal.gdc.cancer.gov.",
    "raabin": "Open https://raabindata.com/free-data/ and take the double-labelled cropped cells: "
    "Train, TestA and TestB (.rar and .zip). Unpack them so that OUT holds Train/<Class>/, "
    "TestA/<Class>/ and TestB/<Class>/.",
    "aml": "Open https://www.cancerimagingarchive.net/collection/aml-cytomorphology_lmu/ and "
    "download the images (about 11 GB) with the IBM Aspera Connect plugin. Place the folder "
    "AML-Cytomorphology_LMU, with its folders BAS, EBO, ..., in OUT.",
    "kaggle_blood_cells": "Sign in at "
    "https://www.kaggle.com/datasets/paultimothymooney/blood-cells, download the archive, unpack "
    "it and place dataset2-master and dataset-master in OUT.",
    "kaggle_photographs": "Part of the archive of kaggle_blood_cells: sign in at "
    "https://www.kaggle.com/datasets/paultimothymooney/blood-cells, download the archive, unpack "
    "it and place dataset-master in OUT.",
    "bccd": "Also place labels.csv of Kaggle's dataset-master (see kaggle_photographs) in OUT, or "
    "pass it with --labels: BCCD itself does not tell kinds of white cells.",
}
"""By source: what is to be done by hand; OUT stands for the user's folder."""
