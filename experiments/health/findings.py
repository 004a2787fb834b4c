"""What a check of the machine found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_WIDTH = 80
_INDENT = " " * 8


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        status: ok; warn: works, with a drawback; fail: something does not work.
        name: What was looked at.
        detail: What is there.
        advice: What to do, unless it is ok.
    """

    status: Literal["ok", "warn", "fail"]
    name: str
    detail: str
    advice: str = ""


def format_findings(findings: Sequence[Finding]) -> str:
    """Return the findings as text of at most 80 columns where words allow it, and a last line."""
    lines = []
    for finding in findings:
        text = f"{finding.status:6}{finding.name}: {finding.detail}"
        lines += _wrap(text, "")
        if finding.advice:
            lines += _wrap(f"-> {finding.advice}", _INDENT)
    failed = sum(finding.status == "fail" for finding in findings)
    warned = sum(finding.status == "warn" for finding in findings)
    return "\n".join([*lines, "", f"{failed} to mend, {warned} to know of."])


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=_INDENT, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
