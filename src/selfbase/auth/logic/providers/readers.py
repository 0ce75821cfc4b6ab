"""From each provider's profile answer to a `Profile`.

One short function a provider.  Members that are missing or of another type count as absent; only a
missing subject is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfbase.auth.logic.providers.profile import (
    Email,
    Profile,
    ProfileInvalid,
    as_flag,
    as_text,
    make_claims,
    one_email,
    pick,
    require_subject,
)
from selfbase.auth.logic.providers.records import Answers


def _full_name(first: Any, last: Any) -> str:
    return f"{as_text(first)} {as_text(last)}".strip()


def _reply(answers: Answers, index: int = 0) -> Mapping[str, Any]:
    reply = answers.replies[index] if index < len(answers.replies) else None
    if not isinstance(reply, Mapping):
        raise ProfileInvalid("the provider's profile is not a JSON object")
    return reply


def read_bitbucket(answers: Answers) -> Profile:
    user, name = _reply(answers), as_text(_reply(answers).get("display_name"))
    subject = require_subject(user.get("uuid"))
    avatar = as_text(pick(user, "avatar", "href"))
    emails = tuple(
        Email(
            as_text(item.get("email")),
            as_flag(item.get("is_confirmed")),
            as_flag(item.get("is_primary")),
        )
        for item in pick(_reply(answers, 1), "values") or []
        if isinstance(item, Mapping) and as_text(item.get("email"))
    )
    claims = make_claims(
        iss=f"{answers.api}/2.0",
        sub=subject,
        name=name,
        picture=avatar,
        avatar_url=avatar,
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, emails)


def read_discord(answers: Answers) -> Profile:
    user = _reply(answers)
    subject = require_subject(user.get("id"))
    name, discriminator = as_text(user.get("username")), as_text(user.get("discriminator"))
    picture = as_text(user.get("avatar"))
    if picture:
        kind = "gif" if picture.startswith("a_") else "png"
        avatar = f"https://cdn.discordapp.com/avatars/{subject}/{picture}.{kind}"
    else:
        number = int(discriminator) % 5 if discriminator.isdecimal() else 0
        avatar = f"https://cdn.discordapp.com/embed/avatars/{number}.png"
    claims = make_claims(
        iss=f"{answers.api}/api",
        sub=subject,
        name=f"{name}#{discriminator}",
        picture=avatar,
        custom_claims={"global_name": as_text(user.get("global_name"))},
        avatar_url=avatar,
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, one_email(user.get("email"), verified=as_flag(user.get("verified"))))


def read_facebook(answers: Answers) -> Profile:
    user = _reply(answers)
    subject = require_subject(user.get("id"))
    name = _full_name(user.get("first_name"), user.get("last_name"))
    alias, picture = as_text(user.get("name")), as_text(pick(user, "picture", "data", "url"))
    claims = make_claims(
        iss=f"{answers.api}/me?fields=email,first_name,last_name,name,picture",
        sub=subject,
        name=name,
        nickname=alias,
        picture=picture,
        slug=alias,
        avatar_url=picture,
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, one_email(user.get("email"), verified=True))


def read_figma(answers: Answers) -> Profile:
    user = _reply(answers)
    subject, name = require_subject(user.get("id")), as_text(user.get("handle"))
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        avatar_url=as_text(user.get("img_url")),
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, one_email(user.get("email"), verified=True))


def read_fly(answers: Answers) -> Profile:
    user = _reply(answers)
    subject = require_subject(user.get("user_id"))
    kept = ("resource_owner_id", "organizations", "application", "scope", "created_at")
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        full_name=as_text(user.get("user_name")),
        provider_id=subject,
        custom_claims={name: user.get(name) for name in kept},
    )
    return Profile(claims, one_email(user.get("email"), verified=True))


def read_github(answers: Answers) -> Profile:
    user = _reply(answers)
    subject = require_subject(user.get("id"))
    name, login = as_text(user.get("name")), as_text(user.get("login"))
    listed = answers.replies[1] if len(answers.replies) > 1 else []
    emails = tuple(
        Email(
            as_text(item.get("email")), as_flag(item.get("verified")), as_flag(item.get("primary"))
        )
        for item in (listed if isinstance(listed, list) else [])
        if isinstance(item, Mapping) and as_text(item.get("email"))
    )
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        preferred_username=login,
        avatar_url=as_text(user.get("avatar_url")),
        full_name=name,
        provider_id=subject,
        user_name=login,
    )
    return Profile(claims, emails)


def read_gitlab(answers: Answers) -> Profile:
    user = _reply(answers)
    subject = require_subject(user.get("id"))
    name, avatar = as_text(user.get("name")), as_text(user.get("avatar_url"))
    listed = answers.replies[1] if len(answers.replies) > 1 else []
    # GitLab does not say whether the further addresses are confirmed.
    emails = [
        Email(as_text(item.get("email")), verified=False, primary=False)
        for item in (listed if isinstance(listed, list) else [])
        if isinstance(item, Mapping) and as_text(item.get("email"))
    ]
    emails += one_email(user.get("email"), verified=bool(as_text(user.get("confirmed_at"))))
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        picture=avatar,
        avatar_url=avatar,
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, tuple(emails))


def read_google(answers: Answers) -> Profile:
    """Only for a token answer without an ID token."""
    user = _reply(answers)
    subject = require_subject(user.get("id"))
    name, picture = as_text(user.get("name")), as_text(user.get("picture"))
    verified = as_flag(user.get("verified_email")) or as_flag(user.get("email_verified"))
    claims = make_claims(
        iss="https://www.googleapis.com/userinfo/v2/me",
        sub=subject,
        name=name,
        picture=picture,
        avatar_url=picture,
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, one_email(user.get("email"), verified=verified))


def read_kakao(answers: Answers) -> Profile:
    user = _reply(answers)
    account = pick(user, "kakao_account")
    subject, name = require_subject(user.get("id")), as_text(pick(account, "profile", "nickname"))
    verified = as_flag(pick(account, "is_email_valid")) and as_flag(
        pick(account, "is_email_verified")
    )
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        preferred_username=name,
        avatar_url=as_text(pick(account, "profile", "profile_image_url")),
        full_name=name,
        provider_id=subject,
        user_name=name,
    )
    return Profile(claims, one_email(pick(account, "email"), verified=verified))


def read_keycloak(answers: Answers) -> Profile:
    user = _reply(answers)
    subject, name = require_subject(user.get("sub")), as_text(user.get("name"))
    standard = ("name", "sub", "email", "email_verified")
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        custom_claims={key: value for key, value in user.items() if key not in standard},
        full_name=name,
        provider_id=subject,
    )
    return Profile(
        claims, one_email(user.get("email"), verified=user.get("email_verified") is True)
    )


def read_linkedin(answers: Answers) -> Profile:
    user = _reply(answers)
    subject = require_subject(user.get("id"))

    def localized(member: str) -> str:
        locale = pick(user, member, "preferredLocale")
        key = f"{as_text(pick(locale, 'language'))}_{as_text(pick(locale, 'country'))}"
        return as_text(pick(user, member, "localized", key))

    name = f"{localized('firstName')} {localized('lastName')}".strip()
    avatar = as_text(
        pick(user, "profilePicture", "displayImage~", "elements", 0, "identifiers", 0, "identifier")
    )
    address = pick(_reply(answers, 1), "elements", 0, "handle~", "emailAddress")
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        picture=avatar,
        avatar_url=avatar,
        full_name=name,
        provider_id=subject,
    )
    # LinkedIn hands out the primary address only, and only once it is confirmed.
    return Profile(claims, one_email(address, verified=True))


def read_notion(answers: Answers) -> Profile:
    user = pick(_reply(answers), "bot", "owner", "user")
    subject, name = require_subject(pick(user, "id")), as_text(pick(user, "name"))
    avatar = as_text(pick(user, "avatar_url"))
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        picture=avatar,
        avatar_url=avatar,
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, one_email(pick(user, "person", "email"), verified=True))


def _slack(answers: Answers, *, verified: bool | None) -> Profile:
    user = _reply(answers)
    subject, name = (
        require_subject(user.get("https://slack.com/user_id")),
        as_text(user.get("name")),
    )
    picture = as_text(user.get("picture"))
    claims = make_claims(
        iss=f"{answers.api}/api",
        sub=subject,
        name=name,
        picture=picture,
        custom_claims={"https://slack.com/team_id": as_text(user.get("https://slack.com/team_id"))},
        avatar_url=picture,
        full_name=name,
        provider_id=subject,
    )
    sure = as_flag(user.get("email_verified")) if verified is None else verified
    return Profile(claims, one_email(user.get("email"), verified=sure))


def read_slack(answers: Answers) -> Profile:
    return _slack(answers, verified=True)


def read_slack_oidc(answers: Answers) -> Profile:
    return _slack(answers, verified=None)


def read_snapchat(answers: Answers) -> Profile:
    me = pick(_reply(answers), "data", "me")
    subject, name = require_subject(pick(me, "externalId")), as_text(pick(me, "displayName"))
    avatar = as_text(pick(me, "bitmoji", "avatar"))
    claims = make_claims(
        iss="https://accounts.snapchat.com/accounts/oauth2/token",
        sub=subject,
        name=name,
        picture=avatar,
        slug=name,
        avatar_url=avatar,
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, one_email(pick(me, "email"), verified=True))


def read_spotify(answers: Answers) -> Profile:
    user = _reply(answers)
    subject, name = require_subject(user.get("id")), as_text(user.get("display_name"))
    images = [item for item in pick(user, "images") or [] if isinstance(item, Mapping)]

    def area(image: Mapping[str, Any]) -> int:
        height, width = image.get("height"), image.get("width")
        return height * width if isinstance(height, int) and isinstance(width, int) else 0

    avatar = as_text(max(images, key=area).get("url")) if images else ""
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        picture=avatar,
        avatar_url=avatar,
        full_name=name,
        provider_id=subject,
    )
    # Spotify says nothing about confirmation.
    return Profile(claims, one_email(user.get("email"), verified=False))


def read_twitch(answers: Answers) -> Profile:
    user = pick(_reply(answers), "data", 0)
    subject = require_subject(pick(user, "id"))
    login, display = as_text(pick(user, "login")), as_text(pick(user, "display_name"))
    picture = as_text(pick(user, "profile_image_url"))
    kept = ("broadcaster_type", "description", "type", "offline_image_url", "view_count")
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        picture=picture,
        name=login,
        nickname=display,
        custom_claims={name: pick(user, name) for name in kept},
        slug=display,
        avatar_url=picture,
        full_name=login,
        provider_id=subject,
    )
    return Profile(claims, one_email(pick(user, "email"), verified=True))


def read_twitter(answers: Answers) -> Profile:
    user = _reply(answers)
    subject = require_subject(user.get("id_str"))
    name, handle = as_text(user.get("name")), as_text(user.get("screen_name"))
    picture = as_text(user.get("profile_image_url_https"))
    claims = make_claims(
        iss=f"{answers.api}/1.1/account/verify_credentials.json",
        sub=subject,
        name=name,
        picture=picture,
        preferred_username=handle,
        user_name=handle,
        full_name=name,
        avatar_url=picture,
        provider_id=subject,
    )
    return Profile(claims, one_email(user.get("email"), verified=True))


def read_workos(answers: Answers) -> Profile:
    """WorkOS puts the profile into the token answer."""
    user = pick(answers.token, "profile")
    subject = require_subject(pick(user, "id"))
    name = _full_name(pick(user, "first_name"), pick(user, "last_name"))
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        custom_claims={
            "connection_id": as_text(pick(user, "connection_id")),
            "organization_id": as_text(pick(user, "organization_id")),
        },
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, one_email(pick(user, "email"), verified=True))


def read_x(answers: Answers) -> Profile:
    user = pick(_reply(answers), "data")
    subject = require_subject(pick(user, "id"))
    name, handle = as_text(pick(user, "name")), as_text(pick(user, "username"))
    picture = as_text(pick(user, "profile_image_url"))
    claims = make_claims(
        iss=answers.api,
        sub=subject,
        name=name,
        preferred_username=handle,
        picture=picture,
        profile=f"https://x.com/{handle}",
        website=as_text(pick(user, "url")),
        custom_claims={"created_at": as_text(pick(user, "created_at"))},
        avatar_url=picture,
        full_name=name,
        provider_id=subject,
        user_name=handle,
    )
    return Profile(claims, one_email(pick(user, "confirmed_email"), verified=True))


def read_zoom(answers: Answers) -> Profile:
    user = _reply(answers)
    subject = require_subject(user.get("id"))
    name = _full_name(user.get("first_name"), user.get("last_name"))
    picture = as_text(user.get("pic_url"))
    # Login type 100 is Zoom's own e-mail login: only there may the address be unconfirmed.
    verified = as_text(user.get("login_type")) != "100" or bool(user.get("verified"))
    claims = make_claims(
        iss=f"{answers.api}/v2",
        sub=subject,
        name=name,
        picture=picture,
        avatar_url=picture,
        full_name=name,
        provider_id=subject,
    )
    return Profile(claims, one_email(user.get("email"), verified=verified))
