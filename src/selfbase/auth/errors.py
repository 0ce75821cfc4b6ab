"""Everything Auth may refuse with: public codes, statuses and words.

Codes are wire contract (supabase/auth `errorcode.go`, 2.196): they are never renamed or reused.
The body's shape depends on the API version the client asked for; `render_failure` knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from selfbase.http.values import Response, json_response
from selfbase.kit.failures import Failure

API_VERSION_HEADER = "x-supabase-api-version"
API_VERSION_2024 = "2024-01-01"


class AuthFailure(Failure):
    """The base: a code of the table above with the status and message of this case."""

    code = "unexpected_failure"
    status = 500
    message = "Unexpected failure, please check server logs for more information"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        internal: str | None = None,
    ) -> None:
        super().__init__(message, code=code, status=status, headers=headers, internal=internal)
        self.extra = dict(extra or {})


class UnexpectedFailure(AuthFailure):
    """Something of ours, or of the operator's, is broken; the message names the step."""


class ValidationFailed(AuthFailure):
    code = "validation_failed"
    status = 400
    message = "Invalid request"


class BadJson(AuthFailure):
    code = "bad_json"
    status = 400
    message = "Could not parse request body as JSON"


class RequestTooLarge(AuthFailure):
    code = "request_entity_too_large"
    status = 413
    message = "Request body is too large"


class RequestTimeout(AuthFailure):
    code = "request_timeout"
    status = 504
    message = "Request processing timed out"


class NoAuthorization(AuthFailure):
    code = "no_authorization"
    status = 401
    message = "This endpoint requires a valid Bearer token"


class BadJwt(AuthFailure):
    code = "bad_jwt"
    status = 403
    message = "invalid JWT"


class NotAdmin(AuthFailure):
    code = "not_admin"
    status = 403
    message = "User not allowed"


class UserNotFound(AuthFailure):
    code = "user_not_found"
    status = 404
    message = "User not found"


class SessionNotFound(AuthFailure):
    code = "session_not_found"
    status = 403
    message = "Session from session_id claim in JWT does not exist"


class SessionExpired(AuthFailure):
    code = "session_expired"
    status = 400
    message = "Invalid Refresh Token: Session Expired"


class UserBanned(AuthFailure):
    code = "user_banned"
    status = 400
    message = "User is banned"


class InvalidCredentials(AuthFailure):
    code = "invalid_credentials"
    status = 400
    message = "Invalid login credentials"


class EmailNotConfirmed(AuthFailure):
    code = "email_not_confirmed"
    status = 400
    message = "Email not confirmed"


class PhoneNotConfirmed(AuthFailure):
    code = "phone_not_confirmed"
    status = 400
    message = "Phone not confirmed"


class SignupDisabled(AuthFailure):
    code = "signup_disabled"
    status = 422
    message = "Signups not allowed for this instance"


class EmailExists(AuthFailure):
    code = "email_exists"
    status = 422
    message = "A user with this email address has already been registered"


class PhoneExists(AuthFailure):
    code = "phone_exists"
    status = 422
    message = "A user with this phone number has already been registered"


class UserAlreadyExists(AuthFailure):
    code = "user_already_exists"
    status = 422
    message = "User already registered"


class EmailProviderDisabled(AuthFailure):
    code = "email_provider_disabled"
    status = 400
    message = "Email signups are disabled"


class PhoneProviderDisabled(AuthFailure):
    code = "phone_provider_disabled"
    status = 400
    message = "Phone signups are disabled"


class OtpExpired(AuthFailure):
    """Wrong, used, expired and unknown codes must look the same from outside."""

    code = "otp_expired"
    status = 403
    message = "Token has expired or is invalid"


class OtpDisabled(AuthFailure):
    code = "otp_disabled"
    status = 422
    message = "Signups not allowed for otp"


class RefreshTokenNotFound(AuthFailure):
    code = "refresh_token_not_found"
    status = 400
    message = "Invalid Refresh Token: Refresh Token Not Found"


class RefreshTokenAlreadyUsed(AuthFailure):
    code = "refresh_token_already_used"
    status = 400
    message = "Invalid Refresh Token: Already Used"


class Conflict(AuthFailure):
    code = "conflict"
    status = 409
    message = "Too many concurrent requests for the same token, please retry"


class WeakPassword(AuthFailure):
    """`reasons` is a subset of length, characters, pwned."""

    code = "weak_password"
    status = 422

    def __init__(self, message: str, reasons: Sequence[str]) -> None:
        super().__init__(message, extra={"weak_password": {"reasons": list(reasons)}})
        self.reasons = tuple(reasons)


class OverRequestRateLimit(AuthFailure):
    code = "over_request_rate_limit"
    status = 429
    message = "Request rate limit reached"


class OverEmailSendRateLimit(AuthFailure):
    code = "over_email_send_rate_limit"
    status = 429
    message = "email rate limit exceeded"


class OverSmsSendRateLimit(AuthFailure):
    code = "over_sms_send_rate_limit"
    status = 429
    message = "sms rate limit exceeded"


class SmsSendFailed(AuthFailure):
    code = "sms_send_failed"
    status = 422
    message = "Error sending sms"


class FeatureDisabled(AuthFailure):
    code = "feature_disabled"
    status = 404
    message = "This feature is disabled"


class InsufficientAal(AuthFailure):
    code = "insufficient_aal"
    status = 401
    message = "AAL2 session is required"


class CaptchaFailed(AuthFailure):
    code = "captcha_failed"
    status = 400
    message = "captcha protection: request disallowed"


class HookFailure(AuthFailure):
    """A hook refused, or could not be asked."""

    code = "unknown"


class OAuthFailure(AuthFailure):
    """Answered as `{error, error_description}` (RFC 6749 section 5.2)."""

    status = 400

    def __init__(self, error: str, description: str, *, internal: str | None = None) -> None:
        super().__init__(description, code=error, internal=internal)


def render_failure(failure: AuthFailure, api_version: str | None, request_id: str) -> Response:
    """The body for the version the client asked for; without one, the legacy body."""
    headers = [*failure.headers]
    if isinstance(failure, OAuthFailure):
        body = {"error": failure.code, "error_description": failure.message}
        return json_response(body, failure.status, headers)
    headers.append(("x-sb-error-code", quote(failure.code)))
    if api_version is not None and api_version >= API_VERSION_2024:
        headers.append((API_VERSION_HEADER, API_VERSION_2024))
        body = {"code": failure.code, "message": failure.message, **failure.extra}
        return json_response(body, failure.status, headers)
    legacy: dict[str, Any] = {
        "code": failure.status,
        "error_code": failure.code,
        "msg": failure.message,
        **failure.extra,
    }
    if failure.status >= 500 and request_id:
        legacy["error_id"] = request_id
    return json_response(legacy, failure.status, headers)
