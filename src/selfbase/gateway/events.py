"""What happens at the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from selfbase.kit.events import Event


@dataclass(slots=True)
class RequestServed(Event):
    """One request was answered.  The path holds no query, which may hold personal data.

    Not frozen, since there is one for every request, and a frozen one takes four times as long to
    make.
    """

    name: ClassVar[str] = "gateway.request"
    service: ClassVar[str] = "gateway"
    request_id: str
    project: str
    upstream: str
    method: str
    path: str
    status: int
    took_ms: float
    client: str
    key: str
    user_agent: str

    def fields(self) -> dict[str, Any]:
        return {
            "request_id": self.request_id,
            "project": self.project,
            "upstream": self.upstream,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "took_ms": self.took_ms,
            "client": self.client,
            "key": self.key,
            "user_agent": self.user_agent,
        }


@dataclass(frozen=True, slots=True)
class ServiceFailed(Event):
    """A service raised instead of answering: a bug of ours."""

    name: ClassVar[str] = "gateway.service.failed"
    level: ClassVar = "error"
    service: ClassVar[str] = "gateway"
    request_id: str
    project: str
    upstream: str
    error: str
    where: str
