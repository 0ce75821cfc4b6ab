"""From a profile to a user: finding, linking or making the account of an external identity.

Every function but `prepare` runs inside the caller's transaction.  Some failures keep what was
written (a confirmation mail has gone out): they are returned, and the caller raises them once the
transaction is over.  Source: reference/auth.md sections 3.5 and 3.9.
"""

from __future__ import annotations

from dataclasses import dataclass

from selfbase.auth import accounts, audit, one_time
from selfbase.auth.accounts import NewUser
from selfbase.auth.context import Context
from selfbase.auth.errors import (
    AuthFailure,
    EmailExists,
    SignupDisabled,
    UnexpectedFailure,
    UserBanned,
    ValidationFailed,
)
from selfbase.auth.logic import linking as logic
from selfbase.auth.logic.accounts import merge_metadata
from selfbase.auth.logic.providers.profile import Profile
from selfbase.auth.queries import users as rows
from selfbase.auth.queries.one_time_tokens import clear_tokens, find_user_by_token
from selfbase.auth.types import Identity, User
from selfbase.database.database import Transaction
from selfbase.database.failures import UniqueViolation

WEB3 = "web3"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who it is, whether the account is new, and why there may be no session after all."""

    user: User
    is_new: bool = False
    failure: AuthFailure | None = None


async def decide(ctx: Context, tx: Transaction, provider: str, profile: Profile) -> logic.Decision:
    """Whose account the profile belongs to, as the rows stand now."""
    autoconfirm = ctx.settings.mailer_autoconfirm
    candidate = logic.candidate_email(profile)
    verified = logic.verified_addresses(profile, autoconfirm=autoconfirm)
    known = await rows.find_identity(tx, provider, profile.subject)
    taken = False
    if known is None and not verified and candidate is not None and candidate.address:
        taken = await accounts.find_duplicate_email(ctx, tx, candidate.address) is not None
    return logic.decide_account(
        provider,
        logic.parse_domains(ctx.settings.experimental_provider_linking_domains),
        known=known,
        candidate=candidate,
        taken=taken,
        identities=await rows.list_identities_by_emails(tx, verified) if verified else [],
        users=await rows.list_users_by_emails(tx, verified) if verified else [],
        has_verified=bool(verified),
    )


async def prepare(ctx: Context, provider: str, profile: Profile) -> NewUser | None:
    """Asks the before-user-created hook where the sign-in would make an account; the account it
    would make.  Outside any transaction.  Raises HookFailure, SignupDisabled."""
    async with ctx.transaction("see whose account an external identity is") as tx:
        decision = await decide(ctx, tx, provider, profile)
    if not isinstance(decision, logic.NewAccount):
        return None
    if ctx.settings.disable_signup:
        raise SignupDisabled
    return await accounts.ask_before_created(ctx, _new_user(ctx, provider, profile, decision))


def _new_user(ctx: Context, provider: str, profile: Profile, decision: logic.NewAccount) -> NewUser:
    domains = logic.parse_domains(ctx.settings.experimental_provider_linking_domains)
    return NewUser(
        provider=provider,
        email=decision.email,
        user_metadata=profile.claims,
        # The flag lets several accounts share an address; every domain but the default needs it.
        is_sso_user=logic.linking_domain(provider, domains) != logic.DEFAULT_DOMAIN,
    )


async def sign_in(
    ctx: Context,
    tx: Transaction,
    provider: str,
    profile: Profile,
    *,
    prepared: NewUser | None,
    email_optional: bool = False,
) -> SignedIn:
    """The user a profile belongs to, made or linked if need be.  `profile` is settled.

    Raises SignupDisabled, UserBanned, UnexpectedFailure.
    """
    decision = await decide(ctx, tx, provider, profile)
    is_new = False
    match decision:
        case logic.KnownIdentity(identity):
            user = await _refresh(ctx, tx, identity, profile)
        case logic.LinkTo(user_id):
            user = await _link(ctx, tx, await rows.get_user(tx, user_id), provider, profile)
        case logic.NewAccount():
            if ctx.settings.disable_signup:
                raise SignupDisabled
            new = prepared or _new_user(ctx, provider, profile, decision)
            user = await _create(ctx, tx, provider, profile, new)
            is_new = True
        case _:
            raise UnexpectedFailure(
                "Multiple accounts with the same email address in the same linking domain detected"
            )
    if user.is_banned(ctx.now):
        raise UserBanned(status=403)
    address = profile.email.address if profile.email is not None else ""
    has_email = provider != WEB3 and not (email_optional and not address and not user.email)
    if not has_email or user.confirmed_at is not None:
        await audit.record(ctx, tx, "login", user, {"provider": provider})
        return SignedIn(user, is_new)
    return await _settle_unconfirmed(ctx, tx, provider, profile, user, is_new)


async def _refresh(ctx: Context, tx: Transaction, identity: Identity, profile: Profile) -> User:
    await rows.update_identity(tx, identity.id, profile.claims, signed_in=True)
    user = await rows.get_user(tx, identity.user_id)
    merged = merge_metadata(user.user_metadata, profile.claims)
    if merged != user.user_metadata:
        await rows.update_user(tx, user.id, {"user_metadata": merged})
    return await accounts.refresh_providers(tx, user.id)


async def _link(ctx: Context, tx: Transaction, user: User, provider: str, profile: Profile) -> User:
    linked = await accounts.add_identity(ctx, tx, user, provider, profile.subject, profile.claims)
    await _record_link(ctx, tx, linked, provider, profile)
    return linked


async def _record_link(
    ctx: Context, tx: Transaction, user: User, provider: str, profile: Profile
) -> None:
    identity = await rows.find_identity(tx, provider, profile.subject)
    await audit.record(
        ctx,
        tx,
        "identity_linked",
        user,
        {
            "identity_id": identity.id if identity else "",
            "provider": provider,
            "provider_id": profile.subject,
        },
    )


async def _create(
    ctx: Context, tx: Transaction, provider: str, profile: Profile, new: NewUser
) -> User:
    user = await accounts.create_user(ctx, tx, new)
    return await accounts.add_identity(ctx, tx, user, provider, profile.subject, profile.claims)


async def _settle_unconfirmed(
    ctx: Context, tx: Transaction, provider: str, profile: Profile, user: User, is_new: bool
) -> SignedIn:
    """Somebody may have prepared this account with an address that is not theirs: every other way
    in is removed before the person whose identity this is may use it."""
    identity = await rows.find_identity(tx, provider, profile.subject)
    await accounts.purge_unconfirmed(tx, user, identity)
    await rows.update_user(tx, user.id, {"user_metadata": merge_metadata({}, profile.claims)})
    user = await accounts.refresh_providers(tx, user.id)
    email = profile.email
    if ctx.settings.mailer_autoconfirm or (email is not None and email.verified):
        await audit.record(ctx, tx, "user_signedup", user, {"provider": provider})
        return SignedIn(await accounts.confirm_email(ctx, tx, user), is_new)
    sent = bool(user.email)
    if sent:
        user = await one_time.send_mail_code(
            ctx, tx, user, one_time.CONFIRMATION, redirect_to=ctx.settings.site_url
        )
    if ctx.settings.mailer_allow_unverified_email_sign_ins:
        return SignedIn(user, is_new)
    words = (
        f"A confirmation email has been sent to your {provider} email"
        if sent
        else f"Verify the email with {provider} in order to sign in"
    )
    failure = AuthFailure(
        f"Unverified email with {provider}. {words}",
        code="provider_email_needs_verification",
        status=422,
    )
    return SignedIn(user, is_new, failure)


async def link_to(
    ctx: Context, tx: Transaction, target_id: str, provider: str, profile: Profile
) -> SignedIn:
    """Adds the identity to a user who asked for it.  Raises identity_already_exists, EmailExists."""
    target = await rows.find_user(tx, target_id, lock=True)
    if target is None:
        raise AuthFailure("Linking target user not found", code="user_not_found", status=422)
    if target.is_banned(ctx.now):
        raise UserBanned(status=403)
    known = await rows.find_identity(tx, provider, profile.subject)
    if known is not None:
        words = "" if known.user_id == target.id else " to another user"
        raise AuthFailure(
            f"Identity is already linked{words}", code="identity_already_exists", status=422
        )
    await rows.insert_identity(
        tx,
        user_id=target.id,
        provider=provider,
        provider_id=profile.subject,
        identity_data=profile.claims,
    )
    await _record_link(ctx, tx, target, provider, profile)
    failure = None
    if not target.email:
        target, failure = await _adopt_email(ctx, tx, target, provider, profile)
    target = await accounts.refresh_providers(tx, target.id)
    if failure is None:
        await ctx.core.mailer.notify(ctx, tx, "identity_linked", target, Provider=provider)
    return SignedIn(target, failure=failure)


async def _adopt_email(
    ctx: Context, tx: Transaction, target: User, provider: str, profile: Profile
) -> tuple[User, AuthFailure | None]:
    """A user without an address takes the one of the linked identity."""
    email = profile.email
    if email is None:
        return target, None
    address = email.address.lower()
    if await rows.find_user_by_email(tx, address, ctx.settings.jwt_aud) is not None:
        raise EmailExists(status=400)
    try:
        async with tx.savepoint():
            target = await rows.update_user(tx, target.id, {"email": address})
    except UniqueViolation:
        raise EmailExists(status=400) from None
    if email.verified:
        return await accounts.confirm_email(ctx, tx, target), None
    await one_time.send_mail_code(
        ctx, tx, target, one_time.CONFIRMATION, redirect_to=ctx.settings.site_url
    )
    return target, AuthFailure(
        f"Unverified email with {provider}. A confirmation email has been sent to your"
        f" {provider} email",
        code="email_not_confirmed",
        status=422,
    )


async def accept_invite(
    ctx: Context, tx: Transaction, token_hash: str, provider: str, profile: Profile
) -> SignedIn:
    """The invited person comes with a provider instead of the mailed link.

    Raises invite_not_found, ValidationFailed when the addresses differ.
    """
    found = await find_user_by_token(tx, token_hash, ("confirmation_token",))
    if found is None:
        raise AuthFailure("Invite not found", code="invite_not_found", status=404)
    user = found[0]
    if user.email.lower() not in {email.address.lower() for email in profile.emails}:
        raise ValidationFailed("Invited email does not match emails from external provider")
    identity = await rows.insert_identity(
        tx,
        user_id=user.id,
        provider=provider,
        provider_id=profile.subject,
        identity_data=profile.claims,
    )
    await audit.record(ctx, tx, "invite_accepted", user, {"provider": provider})
    metadata = merge_metadata(user.user_metadata, profile.claims)
    await accounts.purge_unconfirmed(tx, user, identity)
    await rows.update_user(tx, user.id, {"user_metadata": metadata})
    await clear_tokens(tx, user.id)
    user = await accounts.refresh_providers(tx, user.id)
    return SignedIn(await accounts.confirm_email(ctx, tx, user))
