"""The processing endpoint: bearer secret, signature, options, and the answer's headers.

Errors are plain text, as clients of imgproxy know them.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from selfbase.http.values import Request, Response
from selfbase.images.errors import ForbiddenUrl, ImageFailure, InvalidProcessingUrl
from selfbase.images.logic.formats import CONTENT_TYPES, EXTENSIONS
from selfbase.images.logic.options import Options
from selfbase.images.logic.processing_url import (
    ProcessingUrl,
    check_signature,
    parse_presets,
    parse_processing_url,
    parse_signing_keys,
)
from selfbase.images.ports import FinishedImage
from selfbase.images.settings import ImagesSettings
from selfbase.kit.clock import Clock
from selfbase.kit.failures import ConfigurationError, Failure

_EXTENSION_BY_TYPE = {kind: EXTENSIONS[name] for name, kind in CONTENT_TYPES.items()}
_PLAIN = ("content-type", "text/plain; charset=utf-8")


RenderUrl = Callable[[Options, str, str], Awaitable[FinishedImage]]


class Endpoint:
    """Answers processing URLs.  With `must_sign` nothing is answered until keys are configured."""

    def __init__(
        self, settings: ImagesSettings, clock: Clock, render: RenderUrl, *, must_sign: bool
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._render = render
        self._must_sign = must_sign
        try:
            self._keys = parse_signing_keys(settings.key.reveal(), settings.salt.reveal())
            self._presets = parse_presets(settings.presets)
        except ValueError as error:
            raise ConfigurationError(f"images: key, salt or presets: {error}") from None
        self._defaults = Options(
            auto_rotate=settings.auto_rotate,
            strip_metadata=settings.strip_metadata,
            keep_copyright=settings.keep_copyright,
            strip_color_profile=settings.strip_color_profile,
        )

    async def answer(self, request: Request) -> Response:
        """An image, 304, or an error in plain text."""
        if request.method not in ("GET", "HEAD"):
            return Response(405, [_PLAIN, ("allow", "GET, HEAD")], b"Method not allowed")
        path = request.path.removeprefix(self._settings.path_prefix.rstrip("/"))
        if path in ("/health", "/"):
            return Response(200, [_PLAIN], b"images: ready")
        try:
            self._check_bearer(request)
            asked = self._parse(path)
            image = await self._render(asked.options, asked.source, request.headers.get("accept"))
        except ImageFailure as failure:
            return Response(
                failure.public_status, [_PLAIN, *failure.headers], failure.public_text.encode()
            )
        except Failure as failure:
            # From the project's own objects: what is not there or not allowed looks the same.
            status = 503 if failure.status >= 500 else 404
            return Response(status, [_PLAIN], b"Source image is unreachable")
        return self._render_response(request, asked, image)

    def _check_bearer(self, request: Request) -> None:
        secret = self._settings.bearer_secret.reveal()
        given = request.headers.get("authorization").encode("utf-8", "surrogateescape")
        if secret and not hmac.compare_digest(given, f"Bearer {secret}".encode()):
            raise ForbiddenUrl(internal="the bearer secret does not match")

    def _parse(self, path: str) -> ProcessingUrl:
        settings = self._settings
        signature, _, rest = path.lstrip("/").partition("/")
        if self._keys or settings.trusted_signatures or self._must_sign:
            check_signature(
                unquote(signature),
                f"/{rest}",
                self._keys,
                settings.signature_bytes,
                settings.trusted_signatures,
            )
        asked = parse_processing_url(rest, self._presets, self._defaults)
        if 0 < asked.options.expires_at_s < self._clock.now().timestamp():
            raise InvalidProcessingUrl(internal="the URL has expired")
        base = settings.base_url
        if base and not asked.source.startswith(base):
            return ProcessingUrl(asked.options, base + asked.source)
        return asked

    def _render_response(
        self, request: Request, asked: ProcessingUrl, image: FinishedImage
    ) -> Response:
        options = asked.options
        max_age_s = self._settings.ttl_s
        if options.expires_at_s:
            left_s = options.expires_at_s - int(self._clock.now().timestamp())
            max_age_s = max(0, min(max_age_s, left_s))
        headers = [
            ("cache-control", f"max-age={max_age_s}, public"),
            ("etag", image.etag),
            *([("vary", "Accept")] if image.varies else []),
        ]
        if image.etag in [tag.strip() for tag in request.headers.get("if-none-match").split(",")]:
            return Response(304, headers)
        headers += [
            ("content-type", image.mime_type),
            ("content-disposition", _render_disposition(options, asked.source, image)),
            ("x-content-type-options", "nosniff"),
            # An SVG opened by itself is a document: it may draw, and nothing else.
            ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
            ("content-length", str(len(image.body))),
        ]
        return Response(200, headers, b"" if request.method == "HEAD" else image.body)


def _render_disposition(options: Options, source: str, image: FinishedImage) -> str:
    kind = "attachment" if options.attachment else "inline"
    name = options.filename or PurePosixPath(urlsplit(source).path).stem or "image"
    extension = _EXTENSION_BY_TYPE.get(image.mime_type, "bin")
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in name)
    text = f'{kind}; filename="{plain}.{extension}"'
    if plain != name:
        text += f"; filename*=UTF-8''{quote(name, safe='')}.{extension}"
    return text
