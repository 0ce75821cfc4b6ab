"""Rate limits: which bucket a request takes from, and where buckets are kept.

One process keeps them in memory; several share them through `PostgresBuckets`.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from ipaddress import ip_address
from typing import Protocol

from selfbase.auth.context import AUTH_ADMIN, Context
from selfbase.auth.errors import (
    AuthFailure,
    OverEmailSendRateLimit,
    OverRequestRateLimit,
    OverSmsSendRateLimit,
)
from selfbase.auth.logic.rates import Bucket, Rate, parse_rate, per_window, take
from selfbase.auth.settings import AuthSettings
from selfbase.database.batch import Batch, Statement
from selfbase.database.database import Database

BUCKETS_MAX = 100_000
_FIVE_MINUTES_S, _HOUR_S = 300.0, 3600.0


class Buckets(Protocol):
    """Where buckets are kept."""

    async def take(self, key: str, rate: Rate, now_s: float, cost: int = 1) -> float | None:
        """Takes `cost`; the seconds to wait when the bucket is empty, else None."""


class MemoryBuckets:
    """Buckets of one process; the least used are forgotten beyond a bound."""

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._buckets_max = buckets_max

    async def take(self, key: str, rate: Rate, now_s: float, cost: int = 1) -> float | None:
        bucket, wait_s = take(self._buckets.get(key), rate, now_s, cost)
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._buckets_max:
            self._buckets.popitem(last=False)
        return wait_s


# In: key, burst, seconds for one more, now (unix), cost.  Out: whether there was one to take, and
# the level after.  One row is locked.
_TAKE = b"""insert into _selfbase_auth.rate_buckets as b (key, level, taken, at)
values ($1, $2::float8 - $5::int, true, to_timestamp($4::float8))
on conflict (key) do update set (level, taken, at) = (
  select case when now_level >= 1 then now_level - $5::int else now_level end, now_level >= 1,
    greatest(b.at, excluded.at)
  from (select least($2::float8, b.level + greatest(0, extract(epoch from excluded.at - b.at))
    / $3::float8) as now_level) as levels)
returning taken, level"""
_SWEEP = Batch(
    "auth", (),
    (Statement(b"delete from _selfbase_auth.rate_buckets where at < now() - interval '2 hours'"),),
)  # fmt: skip
SWEEP_EVERY = 1000


class PostgresBuckets:
    """Buckets shared by every process that uses the same database (an unlogged table)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._taken = 0

    async def take(self, key: str, rate: Rate, now_s: float, cost: int = 1) -> float | None:
        if rate.burst < 1:
            return rate.refill_s
        # Digests: addresses of people stay out of the table.
        hidden = hashlib.sha256(key.encode()).hexdigest()
        values = (hidden, str(float(rate.burst)), str(rate.refill_s), repr(now_s), str(cost))
        statement = Statement(_TAKE, tuple(value.encode() for value in values))
        (result,) = await self._database.run(Batch("auth", (), (statement,)), login=AUTH_ADMIN)
        self._taken += 1
        if self._taken % SWEEP_EVERY == 0:
            await self._database.run(_SWEEP, login=AUTH_ADMIN)
        taken, level = result.rows[0]
        if taken == b"t":
            return None
        return (1 - float(level or b"0")) * rate.refill_s


class Limiter:
    """The limits of Auth."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    async def check_address(self, ctx: Context, name: str, operation: str) -> None:
        """The limit of a route by the caller's address.  Raises OverRequestRateLimit."""
        rate = find_rate(name, ctx.settings)
        if rate is None or not is_limited(ctx):
            return
        wait_s = await self.take(ctx, f"{name}:{operation}:{ctx.ip}", rate)
        if wait_s is not None:
            raise OverRequestRateLimit(headers=_retry(wait_s))

    async def check_mail(self, ctx: Context, *, cost: int = 1) -> None:
        """The quota of mails of the whole project.  Raises OverEmailSendRateLimit."""
        await self._check_quota(
            ctx, "mail", ctx.settings.rate_limit_email_sent, OverEmailSendRateLimit, cost
        )

    async def find_gap(self, ctx: Context, key: str, gap_s: float) -> int:
        """Seconds until `key` may be used again after its last use; 0 uses it now."""
        if gap_s <= 0:
            return 0
        wait_s = await self._buckets.take(f"gap:{key}", Rate(1, gap_s), ctx.now.timestamp())
        return 0 if wait_s is None else math.ceil(wait_s)

    async def check_sms(self, ctx: Context) -> None:
        """The quota of SMS of the whole project.  Raises OverSmsSendRateLimit."""
        await self._check_quota(ctx, "sms", ctx.settings.rate_limit_sms_sent, OverSmsSendRateLimit)

    async def _check_quota(
        self, ctx: Context, name: str, text: str, failure: type[AuthFailure], cost: int = 1
    ) -> None:
        rate = parse_rate(text)
        if rate is not None:
            wait_s = await self._buckets.take(name, rate, ctx.now.timestamp(), cost)
            if wait_s is not None:
                raise failure(headers=_retry(wait_s))

    async def take(self, ctx: Context, key: str, rate: Rate) -> float | None:
        """Takes one from a bucket of any name; the seconds to wait when it is empty, else None."""
        return await self._buckets.take(key, rate, ctx.now.timestamp())


def find_rate(name: str, settings: AuthSettings) -> Rate | None:
    """The rate of a named limit."""
    five = {
        "otp": settings.rate_limit_otp,
        "verify": settings.rate_limit_verify,
        "token_refresh": settings.rate_limit_token_refresh,
        "sso": settings.rate_limit_sso,
        "web3": settings.rate_limit_web3,
        "passkey": settings.rate_limit_passkey,
        "oauth_register": settings.rate_limit_oauth_dynamic_client_register,
    }
    if name in five:
        return per_window(five[name], _FIVE_MINUTES_S)
    if name == "anonymous":
        return per_window(settings.rate_limit_anonymous_users, _HOUR_S)
    if name == "mfa":
        return per_window(int(getattr(settings, "mfa_rate_limit_challenge_and_verify", 15)), 60.0)
    if name == "saml":
        return per_window(int(getattr(settings, "saml_rate_limit_assertion", 15)), _FIVE_MINUTES_S)
    raise LookupError(f"no limit of the name {name}")


def is_limited(ctx: Context) -> bool:
    """Whether limits by address apply to this caller.

    Behind a proxy on the same machine that is not trusted to name the caller, everybody has a
    loopback address: one bucket for all would let anyone lock out everyone.
    """
    if ctx.settings.rate_limit_header or ctx.settings.security_sb_forwarded_for_enabled:
        return bool(ctx.ip)
    if ctx.settings.rate_limit_peers == "off":
        return False
    if ctx.settings.rate_limit_peers == "all":
        return True
    try:
        address = ip_address(ctx.ip)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_private)


def _retry(wait_s: float) -> list[tuple[str, str]]:
    return [("Retry-After", str(max(1, math.ceil(wait_s))))]
