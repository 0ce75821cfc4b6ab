"""What can go wrong with a PostgreSQL cluster of ours, one class for each thing a user can act on.

Every message is written for the person who started Selfbase: what happened, where, what to do.
Knows nothing of SQL errors: those are failures of a statement, not of the cluster.
"""


class ClusterError(Exception):
    """A cluster could not be made, started or stopped."""


class BinariesNotFoundError(ClusterError):
    """No usable PostgreSQL 15-18 server programs."""


class ClusterInUseError(ClusterError):
    """Another living process runs this data folder."""


class PortInUseError(ClusterError):
    """Another program listens on the configured TCP port."""


class DiskFullError(ClusterError):
    """The file system of the data folder has no room."""


class VersionMismatchError(ClusterError):
    """The data folder belongs to another major version than the programs at hand."""


class StartFailedError(ClusterError):
    """The server ended, or was not ready in time; the message carries its own words."""


class StopFailedError(ClusterError):
    """The server did not end, not even after an immediate shutdown was asked for."""
