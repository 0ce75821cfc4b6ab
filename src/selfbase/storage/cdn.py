"""Asking a CDN in front to forget its copies.

Source: reference/storage.md section 1.8.
"""

from __future__ import annotations

from typing import Any

from selfbase.storage.context import Context
from selfbase.storage.errors import InternalError, MissingParameter

_TIMEOUT_S = 10.0


async def purge_cdn(
    context: Context, bucket_id: str = "", name: str = "", *, transformations: bool = False
) -> None:
    """Has the copies of an object, of a bucket or of the whole project forgotten.

    With `transformations` only those of rendered images.  Raises MissingParameter when no CDN is
    set, InternalError when it does not do as asked.
    """
    settings = context.settings
    if not settings.cdn_purge_url:
        raise MissingParameter("Missing Required Parameter CDN_PURGE_ENDPOINT_URL is not set")
    what = "object" if name else "bucket" if bucket_id else "tenant"
    body: dict[str, Any] = {
        "type": f"{what}-transforms" if transformations else what,
        "tenant": {"ref": context.project_ref},
    }
    if bucket_id:
        body["bucketId"] = bucket_id
    if name:
        body["objectName"] = name
    headers = {}
    if settings.cdn_purge_key:
        headers["authorization"] = f"Bearer {settings.cdn_purge_key.reveal()}"
    # Loaded when it is needed: it is large, and most projects have no CDN.
    import httpx

    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client:
            answer = await client.post(
                f"{settings.cdn_purge_url.rstrip('/')}/purge", json=body, headers=headers
            )
            answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InternalError(
            "Error purging cache", internal=f"CDN purge: {type(error).__name__}"
        ) from error
