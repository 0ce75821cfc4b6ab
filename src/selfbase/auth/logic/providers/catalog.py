"""The providers of reference/auth.md section 5.5, one record each.

Sources: the public developer documentation of each provider, and supabase/auth@bc32168e for the
defaults its users rely on.
"""

from __future__ import annotations

import re
from typing import Final

from selfbase.auth.logic.providers import readers
from selfbase.auth.logic.providers.records import ProviderRecord

GOOGLE_ISSUER = "https://accounts.google.com"
APPLE_ISSUERS = ("https://appleid.apple.com", "https://account.apple.com")
LINKEDIN_ISSUER = "https://www.linkedin.com/oauth"
KAKAO_ISSUER = "https://kauth.kakao.com"
FACEBOOK_ISSUER = "https://www.facebook.com"
SNAPCHAT_ISSUER = "https://accounts.snapchat.com/accounts/oauth2/token"
VERCEL_ISSUER = "https://marketplace.vercel.com"

_AZURE_TENANT = re.compile(r"https://login\.microsoftonline\.com/([^/]+)/v2\.0/?")
_AZURE_CIAM = re.compile(r"https://[a-z0-9-]+\.ciamlogin\.com/([^/]+)/v2\.0/?")
_AZURE_SHARED = ("common", "organizations", "consumers")


def is_azure_issuer(issuer: str) -> bool:
    """Whether a token of this issuer comes from Microsoft's identity platform."""
    return bool(_AZURE_TENANT.fullmatch(issuer) or _AZURE_CIAM.fullmatch(issuer))


def settle_azure_issuer(url: str) -> str | None:
    """The only issuer tokens may have when the operator named one tenant; None when any tenant
    may sign in."""
    issuer = url.removesuffix("/") + "/v2.0"
    match = _AZURE_TENANT.fullmatch(issuer) or _AZURE_CIAM.fullmatch(issuer)
    if match is None or match[1] in _AZURE_SHARED:
        return None
    return issuer


_RECORDS: Final = (
    ProviderRecord(
        name="apple",
        authorize="https://appleid.apple.com/auth/authorize",
        exchange="https://appleid.apple.com/auth/token",
        scopes=("email", "name"),
        takes_scopes=False,
        issuer=APPLE_ISSUERS[0],
        authorize_params=(("response_mode", "form_post"),),
    ),
    ProviderRecord(
        name="azure",
        auth_host="login.microsoftonline.com/common",
        authorize="{auth}/oauth2/v2.0/authorize",
        exchange="{auth}/oauth2/v2.0/token",
        scopes=("openid",),
        settles_issuer=settle_azure_issuer,
    ),
    ProviderRecord(
        name="bitbucket",
        auth_host="bitbucket.org",
        api_host="api.bitbucket.org",
        authorize="{auth}/site/oauth2/authorize",
        exchange="{auth}/site/oauth2/access_token",
        scopes=("account", "email"),
        takes_scopes=False,
        profile=("{api}/2.0/user", "{api}/2.0/user/emails"),
        read=readers.read_bitbucket,
        client_auth="basic",
    ),
    ProviderRecord(
        name="discord",
        auth_host="discord.com",
        api_host="discord.com",
        authorize="{auth}/api/oauth2/authorize",
        exchange="{auth}/api/oauth2/token",
        scopes=("email", "identify"),
        profile=("{api}/api/users/@me",),
        read=readers.read_discord,
    ),
    ProviderRecord(
        name="facebook",
        auth_host="www.facebook.com",
        api_host="graph.facebook.com",
        authorize="{auth}/dialog/oauth",
        exchange="{api}/oauth/access_token",
        scopes=("email",),
        profile=(
            "{api}/me?fields=email,first_name,last_name,name,picture"
            "&appsecret_proof={appsecret_proof}",
        ),
        read=readers.read_facebook,
    ),
    ProviderRecord(
        name="figma",
        auth_host="www.figma.com",
        api_host="api.figma.com",
        authorize="{auth}/oauth",
        exchange="{api}/v1/oauth/token",
        scopes=("current_user:read",),
        profile=("{api}/v1/me",),
        read=readers.read_figma,
        client_auth="basic",
    ),
    ProviderRecord(
        name="fly",
        auth_host="api.fly.io",
        api_host="api.fly.io",
        authorize="{auth}/oauth/authorize",
        exchange="{auth}/oauth/token",
        scopes=("read",),
        profile=("{api}/oauth/token/info",),
        read=readers.read_fly,
    ),
    ProviderRecord(
        name="github",
        auth_host="github.com",
        api_host="api.github.com",
        api_suffix_elsewhere="/api/v3",
        authorize="{auth}/login/oauth/authorize",
        exchange="{auth}/login/oauth/access_token",
        scopes=("user:email",),
        profile=("{api}/user", "{api}/user/emails"),
        read=readers.read_github,
    ),
    ProviderRecord(
        name="gitlab",
        auth_host="gitlab.com",
        api_host="gitlab.com",
        authorize="{auth}/oauth/authorize",
        exchange="{auth}/oauth/token",
        scopes=("read_user",),
        profile=("{api}/api/v4/user", "{api}/api/v4/user/emails"),
        read=readers.read_gitlab,
    ),
    ProviderRecord(
        name="google",
        authorize="https://accounts.google.com/o/oauth2/v2/auth",
        exchange="https://oauth2.googleapis.com/token",
        scopes=("email", "profile"),
        profile=("https://www.googleapis.com/userinfo/v2/me",),
        read=readers.read_google,
        issuer=GOOGLE_ISSUER,
    ),
    ProviderRecord(
        name="kakao",
        auth_host="kauth.kakao.com",
        api_host="kapi.kakao.com",
        authorize="{auth}/oauth/authorize",
        exchange="{auth}/oauth/token",
        scopes=("account_email", "profile_image", "profile_nickname"),
        profile=("{api}/v2/user/me",),
        read=readers.read_kakao,
    ),
    ProviderRecord(
        name="keycloak",
        authorize="{auth}/protocol/openid-connect/auth",
        exchange="{auth}/protocol/openid-connect/token",
        scopes=("profile", "email"),
        profile=("{api}/protocol/openid-connect/userinfo",),
        read=readers.read_keycloak,
        url_required=True,
    ),
    ProviderRecord(
        name="linkedin",
        auth_host="api.linkedin.com",
        api_host="api.linkedin.com",
        authorize="{auth}/oauth/v2/authorization",
        exchange="{auth}/oauth/v2/accessToken",
        scopes=("r_emailaddress", "r_liteprofile"),
        profile=(
            "{api}/v2/me?projection=(id,firstName,lastName,"
            "profilePicture(displayImage~:playableStreams))",
            "{api}/v2/emailAddress?q=members&projection=(elements*(handle~))",
        ),
        read=readers.read_linkedin,
    ),
    ProviderRecord(
        name="linkedin_oidc",
        auth_host="api.linkedin.com",
        api_host="api.linkedin.com",
        authorize="{auth}/oauth/v2/authorization",
        exchange="{auth}/oauth/v2/accessToken",
        scopes=("openid", "email", "profile"),
        issuer=LINKEDIN_ISSUER,
    ),
    ProviderRecord(
        name="notion",
        auth_host="api.notion.com",
        api_host="api.notion.com",
        authorize="{auth}/v1/oauth/authorize",
        exchange="{auth}/v1/oauth/token",
        takes_scopes=False,
        profile=("{api}/v1/users/me",),
        profile_headers=(("notion-version", "2021-08-16"),),
        read=readers.read_notion,
        client_auth="basic",
    ),
    ProviderRecord(
        name="slack",
        auth_host="slack.com",
        api_host="slack.com",
        authorize="{auth}/oauth/authorize",
        exchange="{api}/api/oauth.access",
        scopes=("profile", "email", "openid"),
        profile=("{api}/api/openid.connect.userInfo",),
        read=readers.read_slack,
    ),
    ProviderRecord(
        name="slack_oidc",
        auth_host="slack.com",
        api_host="slack.com",
        authorize="{auth}/openid/connect/authorize",
        exchange="{api}/api/openid.connect.token",
        scopes=("profile", "email", "openid"),
        profile=("{api}/api/openid.connect.userInfo",),
        read=readers.read_slack_oidc,
    ),
    ProviderRecord(
        name="snapchat",
        auth_host="accounts.snapchat.com",
        api_host="kit.snapchat.com",
        authorize="{auth}/accounts/oauth2/auth",
        exchange="{auth}/accounts/oauth2/token",
        scopes=(
            "https://auth.snapchat.com/oauth2/api/user.external_id",
            "https://auth.snapchat.com/oauth2/api/user.display_name",
            "https://auth.snapchat.com/oauth2/api/user.bitmoji.avatar",
        ),
        profile=(
            "{api}/v1/me?query=%7Bme+%7B+externalId+displayName+bitmoji+"
            "%7B+avatar+id+%7D+email+%7D+%7D",
        ),
        read=readers.read_snapchat,
    ),
    ProviderRecord(
        name="spotify",
        auth_host="accounts.spotify.com",
        api_host="api.spotify.com/v1",
        authorize="{auth}/authorize",
        exchange="{auth}/api/token",
        scopes=("user-read-email",),
        profile=("{api}/me",),
        read=readers.read_spotify,
        client_auth="basic",
    ),
    ProviderRecord(
        name="twitch",
        auth_host="id.twitch.tv",
        api_host="api.twitch.tv",
        authorize="{auth}/oauth2/authorize",
        exchange="{auth}/oauth2/token",
        scopes=("user:read:email",),
        profile=("{api}/helix/users",),
        profile_headers=(("client-id", "{client_id}"),),
        read=readers.read_twitch,
    ),
    ProviderRecord(
        name="vercel_marketplace",
        auth_host="api.vercel.com",
        api_host="api.vercel.com",
        authorize="{auth}/oauth/v2/authorization",
        exchange="{auth}/oauth/v2/accessToken",
        issuer=VERCEL_ISSUER,
    ),
    ProviderRecord(
        name="workos",
        auth_host="api.workos.com",
        api_host="api.workos.com",
        authorize="{auth}/sso/authorize",
        exchange="{auth}/sso/token",
        takes_scopes=False,
        read=readers.read_workos,
    ),
    ProviderRecord(
        name="x",
        auth_host="x.com",
        api_host="api.x.com",
        authorize="{auth}/i/oauth2/authorize",
        exchange="{api}/2/oauth2/token",
        scopes=("users.email", "tweet.read", "users.read", "offline.access"),
        profile=(
            "{api}/2/users/me?user.fields="
            "id,name,username,confirmed_email,profile_image_url,url,created_at",
        ),
        read=readers.read_x,
        pkce=True,
        client_auth="basic",
    ),
    ProviderRecord(
        name="zoom",
        auth_host="zoom.us",
        api_host="api.zoom.us",
        authorize="{auth}/oauth/authorize",
        exchange="{auth}/oauth/token",
        takes_scopes=False,
        profile=("{api}/v2/users/me",),
        read=readers.read_zoom,
        client_auth="basic",
    ),
)

PROVIDERS: Final = {record.name: record for record in _RECORDS}
# OAuth 1.0a, a flow of its own (`logic.oauth1`).
TWITTER: Final = "twitter"
PROVIDER_NAMES: Final = (*sorted([*PROVIDERS, TWITTER]),)
