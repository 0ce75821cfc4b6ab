"""Entry point.  A worker process goes its own way before anything of the command line is loaded."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Runs the command and exits with its code."""
    if sys.argv[1:2] == ["worker"]:
        # Nothing of what is loaded goes away again: looking for garbage meanwhile takes a tenth of
        # the time.  The worker lets it begin when it is ready.
        gc.disable()
        from selfbase.supervisor.worker import run_worker

        sys.exit(run_worker(dict(os.environ)))
    from selfbase.cli.commands import cli

    cli.main(prog_name="selfbase")


if __name__ == "__main__":
    main()
