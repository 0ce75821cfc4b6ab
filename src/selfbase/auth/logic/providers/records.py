"""What a provider is, as data, and the requests that follow from it.

A record names its addresses with `{auth}` and `{api}`, which an operator may point elsewhere (a
GitHub Enterprise, a GitLab of one's own, a test).  Sources: RFC 6749, RFC 7636, OpenID Connect Core
1.0; the facts of each provider are in `catalog`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from selfbase.auth.logic.providers.profile import Profile

ClientAuth = Literal["post", "basic", "auto"]

# Members of an authorization request that only we may set; a client's own are dropped.
RESERVED_PARAMS = frozenset(
    {
        "client_id",
        "client_secret",
        "redirect_uri",
        "response_type",
        "state",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
    }
)
# Ours, not the provider's: never passed on.
OWN_PARAMS = frozenset(
    {"provider", "scopes", "redirect_to", "invite_token", "skip_http_redirect", "apikey"}
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back: `api` is the base the profile was read from, `replies` the JSON answers of
    the record's profile requests in order, `token` the token answer."""

    api: str
    replies: tuple[Any, ...] = ()
    token: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProviderRecord:
    """One OAuth 2 provider.

    `issuer` is set where the token answer carries an ID token that is the profile.  `read` turns
    the profile requests' answers into a profile; None where only ID tokens are accepted.
    """

    name: str
    authorize: str
    exchange: str
    auth_host: str = ""
    api_host: str = ""
    api_suffix_elsewhere: str = ""
    scopes: tuple[str, ...] = ()
    takes_scopes: bool = True
    profile: tuple[str, ...] = ()
    profile_headers: tuple[tuple[str, str], ...] = ()
    read: Callable[[Answers], Profile] | None = None
    issuer: str | None = None
    pkce: bool = False
    client_auth: ClientAuth = "post"
    authorize_params: tuple[tuple[str, str], ...] = ()
    url_required: bool = False
    settles_issuer: Callable[[str], str | None] | None = None


@dataclass(frozen=True, kw_only=True)
class ProviderSetup:
    """A record with the operator's values: ready to make requests.

    `client_ids` are all accepted as audience of ID tokens; the first one is used for the web flow.
    `issuer` is the one ID tokens must come from, or None when any issuer of the provider may.
    """

    name: str
    client_ids: tuple[str, ...]
    secret: str = field(repr=False)
    redirect_uri: str
    authorize_url: str
    token_url: str
    api: str
    scopes: tuple[str, ...]
    profile_urls: tuple[str, ...] = ()
    profile_headers: tuple[tuple[str, str], ...] = ()
    read: Callable[[Answers], Profile] | None = None
    read_claims: Callable[[Mapping[str, Any]], Profile] | None = None
    issuer: str | None = None
    discovery_url: str | None = None
    uses_id_token: bool = False
    pkce: bool = False
    client_auth: ClientAuth = "post"
    authorize_params: tuple[tuple[str, str], ...] = ()
    email_optional: bool = False
    skip_nonce_check: bool = False

    @property
    def client_id(self) -> str:
        return self.client_ids[0]


def choose_base(configured: str, default: str) -> str:
    """The operator's address without its last slash, or the provider's own."""
    return configured.removesuffix("/") if configured else f"https://{default}"


def set_up_provider(
    record: ProviderRecord,
    *,
    client_ids: Sequence[str],
    secret: str,
    redirect_uri: str,
    url: str = "",
    extra_scopes: str = "",
    email_optional: bool = False,
    skip_nonce_check: bool = False,
) -> ProviderSetup:
    """`extra_scopes` are comma-separated and come after the record's own."""
    auth = choose_base(url, record.auth_host)
    api = choose_base(url, record.api_host)
    if url:
        api += record.api_suffix_elsewhere
    added = [part.strip() for part in extra_scopes.split(",")] if record.takes_scopes else []
    settle = record.settles_issuer

    def place(pattern: str) -> str:
        return pattern.replace("{auth}", auth).replace("{api}", api)

    return ProviderSetup(
        name=record.name,
        client_ids=tuple(client_ids),
        secret=secret,
        redirect_uri=redirect_uri,
        authorize_url=place(record.authorize),
        token_url=place(record.exchange),
        api=api,
        scopes=(*record.scopes, *(scope for scope in added if scope)),
        profile_urls=tuple(place(pattern) for pattern in record.profile),
        profile_headers=tuple(
            (name, value.replace("{client_id}", client_ids[0] if client_ids else ""))
            for name, value in record.profile_headers
        ),
        read=record.read,
        issuer=settle(url) if settle is not None else record.issuer,
        uses_id_token=record.issuer is not None or settle is not None,
        pkce=record.pkce,
        client_auth=record.client_auth,
        authorize_params=record.authorize_params,
        email_optional=email_optional,
        skip_nonce_check=skip_nonce_check,
    )


def select_passed_params(query: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The members of a client's `/authorize` query that go on to the provider.

    Reserved names are recognised in any case; `workos_provider` becomes `provider`; the first value
    of a repeated name counts.
    """
    passed: dict[str, str] = {}
    for name, value in query:
        lower = name.lower()
        if lower in RESERVED_PARAMS or lower in OWN_PARAMS:
            continue
        passed.setdefault("provider" if name == "workos_provider" else name, value)
    return list(passed.items())


def render_authorize_url(
    setup: ProviderSetup,
    *,
    state: str,
    passed: Sequence[tuple[str, str]] = (),
    code_challenge: str | None = None,
) -> str:
    """Where the browser is sent.  What we set wins over what was passed or configured."""
    parts = urlsplit(setup.authorize_url)
    members = dict(parse_qsl(parts.query, keep_blank_values=True))
    members.update(passed)
    members.update(setup.authorize_params)
    members |= {
        "client_id": setup.client_id,
        "redirect_uri": setup.redirect_uri,
        "response_type": "code",
        "state": state,
    }
    if setup.scopes:
        members["scope"] = " ".join(setup.scopes)
    if code_challenge is not None:
        members |= {"code_challenge": code_challenge, "code_challenge_method": "S256"}
    # A space as %20: Apple does not read "+" as a space.
    query = urlencode(sorted(members.items())).replace("+", "%20")
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
