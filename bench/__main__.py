"""`python -m bench [name …]`: runs the named benchmarks, or all of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")
)


def main() -> None:
    wanted = sys.argv[1:] or NAMES
    for name in wanted:
        if name not in NAMES:
            sys.exit(f"no benchmark {name}; there are: {', '.join(NAMES)}")
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"bench.{name}").main()


main()
