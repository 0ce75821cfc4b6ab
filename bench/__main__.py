"""`python -m bench [name …] [--option …]`: runs the named benchmarks with the options, or all."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")
)


def main() -> None:
    given = sys.argv[1:]
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), given))
    # Each benchmark reads its own options.
    sys.argv[1:] = given[len(names) :]
    for name in names or NAMES:
        if name not in NAMES:
            sys.exit(f"no benchmark {name}; there are: {', '.join(NAMES)}")
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"bench.{name}").main()


main()
