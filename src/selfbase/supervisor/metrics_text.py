"""Merging the metrics of several workers into one document.  Pure.

Source: Prometheus exposition format 0.0.4.
"""

from __future__ import annotations

import re

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (.*)$")


def merge_metrics(texts: dict[str, str]) -> str:
    """The metrics of several workers as one document, told apart by the label `worker`."""
    help_lines: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    family = ""
    for worker, text in texts.items():
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ")[2] if line.count(" ") >= 2 else family
                lines = help_lines.setdefault(family, [])
                if line not in lines:
                    lines.append(line)
            elif match := _SAMPLE.match(line):
                name, _, labels, value = match.groups()
                joined = f'worker="{worker}"' + (f",{labels}" if labels else "")
                samples.setdefault(family, []).append(f"{name}{{{joined}}} {value}")
    pieces = []
    for family, lines in help_lines.items():
        pieces += [*lines, *samples.get(family, [])]
    return "\n".join(pieces) + "\n"
