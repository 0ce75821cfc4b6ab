"""Captcha check with hCaptcha or Cloudflare Turnstile."""

from __future__ import annotations

import orjson

from selfbase.auth.context import Context
from selfbase.auth.errors import CaptchaFailed, UnexpectedFailure
from selfbase.auth.outgoing import AddressRefused, FetchFailed, Outgoing

ADDRESSES = {
    "hcaptcha": "https://hcaptcha.com/siteverify",
    "turnstile": "https://challenges.cloudflare.com/turnstile/v0/siteverify",
}


class Captcha:
    """Asks the configured service.  `addresses` can be exchanged for a test's own service."""

    def __init__(
        self, outgoing: Outgoing, addresses: dict[str, str] | None = None, *, private: bool = False
    ) -> None:
        self._outgoing = outgoing
        self._addresses = addresses or ADDRESSES
        self._private = private

    async def check(self, ctx: Context) -> None:
        """Raises CaptchaFailed when the request holds no good answer."""
        if not ctx.settings.security_captcha_enabled:
            return
        body = await ctx.fields()
        answer = body.inner("gotrue_meta_security").text("captcha_token")
        if not answer:
            raise CaptchaFailed(
                "captcha protection: request disallowed (no captcha_token found in request)"
            )
        address = self._addresses.get(ctx.settings.security_captcha_provider)
        if address is None:
            raise UnexpectedFailure("captcha provider is not known")
        form = {"secret": ctx.settings.security_captcha_secret.reveal(), "response": answer}
        if ctx.ip:
            form["remoteip"] = ctx.ip
        try:
            reply = await self._outgoing.fetch(
                "POST", address, form=form, timeout_s=ctx.settings.security_captcha_timeout,
                allow_private=self._private,
            )  # fmt: skip
            result = orjson.loads(reply.body)
        except (FetchFailed, AddressRefused, TimeoutError, orjson.JSONDecodeError) as error:
            raise UnexpectedFailure(
                "captcha verification process failed", internal=type(error).__name__
            ) from None
        if not isinstance(result, dict) or result.get("success") is not True:
            codes = result.get("error-codes") if isinstance(result, dict) else None
            listed = ", ".join(map(str, codes)) if isinstance(codes, list) else "refused"
            raise CaptchaFailed(f"captcha protection: request disallowed ({listed})")
