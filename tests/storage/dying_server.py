"""A storage service in a process of its own that kills itself where it is told to.

Run as a program: `dying_server.py <conninfo> <folder> <fault point or -> <secrets as JSON>`; prints
its port.  The test that started it is the only one who talks to it.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from selfbase.database.database import Database, DatabaseSettings
from selfbase.http.server import Server
from selfbase.identity.secrets import make_secrets
from selfbase.kit.events import Events
from selfbase.kit.settings import ValuesLayer
from selfbase.project import Project
from selfbase.storage.faults import FaultPoint, Faults
from selfbase.storage.service import make_storage


class KillAt(Faults):
    """SIGKILL, as the kernel does it when memory is out: nothing is cleaned up."""

    def __init__(self, point: str) -> None:
        self._point = point

    def reach(self, point: FaultPoint) -> None:
        if point.value == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(conninfo: str, folder: str, point: str, secrets: str) -> None:
    events = Events()
    project = Project(
        ref="test",
        api_url="http://localhost",
        data_dir=Path(folder),
        database=Database(DatabaseSettings(conninfo=conninfo), events),
        secrets=make_secrets("test", json.loads(secrets)),
        layers=(ValuesLayer({"collect_every_s": 0, "tus_part_mb": 1}),),
        events=events,
    )
    storage = make_storage(project, faults=KillAt(point))
    await storage.open()
    server = Server(storage, events)
    port = await server.listen("127.0.0.1", 0)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
