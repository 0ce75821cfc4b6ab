"""The refusals of Realtime.  Their codes are a public interface: users match on them.

A join is refused with `reason` = `Code: text`; HTTP answers use `status` and `message`.
Source: reference/realtime.md sections 1.3 and 3.5; ERROR_CODES of upstream.
"""

from __future__ import annotations

from selfbase.kit.failures import Failure


class RealtimeFailure(Failure):
    """An expected refusal.  `closes_socket` ends the whole connection, with code 1001."""

    code = "Unknown Error on Channel"
    status = 500
    message = "Unknown error"
    closes_socket = False

    @property
    def reason(self) -> str:
        """The text of a refused join."""
        return f"{self.code}: {self.message}"


class Unauthorized(RealtimeFailure):
    code = "Unauthorized"
    status = 403
    message = "You do not have permissions to access this Channel topic"


class InvalidToken(RealtimeFailure):
    """Expired, or a claim is missing or wrong."""

    code = "InvalidJWTToken"
    status = 401
    message = "Token is not valid"


class MalformedToken(RealtimeFailure):
    code = "MalformedJWT"
    status = 401
    message = "The token provided is not a valid JWT"


class TokenSignature(RealtimeFailure):
    code = "JwtSignatureError"
    status = 401
    message = "Failed to validate JWT signature"


class TokenMissing(RealtimeFailure):
    code = "Unauthorized"
    status = 401
    message = "API key is missing"


class PrivateOnly(RealtimeFailure):
    code = "PrivateOnly"
    status = 403
    message = "This project only allows private channels"


class Suspended(RealtimeFailure):
    code = "RealtimeDisabledForTenant"
    status = 403
    message = "Realtime disabled for this tenant"


class TooManyChannels(RealtimeFailure):
    code = "ChannelRateLimitReached"
    status = 429
    message = "Too many channels"


class TooManyConnections(RealtimeFailure):
    code = "ConnectionRateLimitReached"
    status = 429
    message = "Too many connected users"


class TooManyJoins(RealtimeFailure):
    code = "ClientJoinRateLimitReached"
    status = 429
    message = "Too many joins per second"
    closes_socket = True


class ReplayRefused(RealtimeFailure):
    code = "UnableToReplayMessages"
    status = 400
    message = "Replay params are not valid"


class TopicMissing(RealtimeFailure):
    code = "TopicNameRequired"
    status = 400
    message = "You must provide a topic name"


class Restarting(RealtimeFailure):
    code = "RealtimeRestarting"
    status = 503
    message = "Realtime is restarting, please standby"


class DatabaseDown(RealtimeFailure):
    code = "UnableToConnectToProject"
    status = 503
    message = "Realtime was unable to connect to the project database"


class PoolExhausted(RealtimeFailure):
    code = "IncreaseConnectionPool"
    status = 503
    message = "Please increase your connection pool size"


class QueryTooSlow(RealtimeFailure):
    code = "QueryCanceled"
    status = 504
    message = "The policies of realtime.messages took too long"


class PartitionMissing(RealtimeFailure):
    code = "MissingPartition"
    status = 500
    message = "Realtime was unable to find the expected messages partition"


class PolicyFailed(RealtimeFailure):
    """A policy on realtime.messages raised an error."""

    code = "RlsPolicyError"
    status = 500
    message = "A policy of realtime.messages failed"

    def __init__(self, sqlstate: str = "") -> None:
        super().__init__()
        self.sqlstate = sqlstate


# Codes of upstream that a server in one process cannot give; never to be used for anything else.
RETIRED_CODES = frozenset(
    {
        *("TenantNotFound", "TimeoutOnRpcCall", "MusterJoinError", "JwtSignerError"),
        *("DatabaseConnectionRateLimitReached", "InitializingProjectConnection"),
        "DatabaseLackOfConnections",
    }
)
