"""The refresh of an ordinary session in one statement and one round trip.

It does what `handlers.token` decides for the plain case: an unused token of a live session of a user
who is not banned.  Whatever it does not fit (a token used before, a limit, another holder of the
rows) gives no row, changes nothing, and goes the long way.
"""

from __future__ import annotations

from selfbase.auth.queries.sessions import SESSION_DOCUMENT
from selfbase.auth.queries.users import USER_DOCUMENT
from selfbase.database.batch import Batch, Statement

# In: token, new token, now, user agent, ip, audit payload written (bool), ip of the audit row.
# Out: 0..1 document of user and session.  Locks: the token and the session.
_REFRESH = (
    """with token as (
  select t.id, t.token, t.session_id from auth.refresh_tokens t
  where t.token = $1 and t.revoked is not true for update skip locked),
live as (
  select s.id, s.user_id from auth.sessions s join token on s.id = token.session_id
  where s.oauth_client_id is null and s.refresh_token_hmac_key is null
    and (s.not_after is null or s.not_after > $3::timestamptz)
  for update of s skip locked),
fit as (
  select live.id, live.user_id, token.id as token_id, token.token from live, token
  join lateral (select 1 from auth.users u, live l where u.id = l.user_id
    and (u.banned_until is null or u.banned_until <= $3::timestamptz)) as free on true),
used as (
  update auth.refresh_tokens t set revoked = true, updated_at = $3::timestamptz
  from fit where t.id = fit.token_id),
child as (
  insert into auth.refresh_tokens
    (instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id)
  select '00000000-0000-0000-0000-000000000000', $2, fit.user_id, false, $3::timestamptz,
    $3::timestamptz, fit.token, fit.id from fit),
touched as (
  update auth.sessions s set refreshed_at = $3::timestamptz at time zone 'utc',
    updated_at = $3::timestamptz, user_agent = coalesce(nullif($4, ''), s.user_agent),
    ip = coalesce($5::inet, s.ip) from fit where s.id = fit.id),
logged as (
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', gen_random_uuid(),
    json_build_object('action', action, 'actor_id', u.id, 'actor_via_sso', u.is_sso_user,
      'actor_username', coalesce(u.email, u.phone, ''), 'log_type', 'token'),
    $3::timestamptz, $7
  from fit join auth.users u on u.id = fit.user_id,
    unnest(array['token_revoked', 'token_refreshed']) as actions(action)
  where $6::boolean)
select jsonb_build_object('user', """
    + USER_DOCUMENT
    + ", 'session', "
    + SESSION_DOCUMENT
    + """) from fit join auth.users u on u.id = fit.user_id join auth.sessions s on s.id = fit.id"""
).encode()


def plan_quick_refresh(
    token: str, *, new: str, now: str, user_agent: str, ip: str | None, audit: bool, audit_ip: str
) -> Batch:
    """The batch; `now` is ISO text."""
    values = (token, new, now, user_agent, ip, "true" if audit else "false", audit_ip)
    encoded = tuple(None if value is None else value.encode() for value in values)
    return Batch("auth", (), (Statement(_REFRESH, encoded),))
