"""The HTTP surface of the service as data, in one tuple.

A route's `extra` is its surface: who proves what, and how failures look.
"""

from __future__ import annotations

from selfbase.kit.routes import Route
from selfbase.storage.call import Handler
from selfbase.storage.handlers import (
    buckets,
    changes,
    download,
    listing,
    operations,
    render,
    resumable,
    signing,
    upload,
)
from selfbase.storage.s3 import credentials
from selfbase.storage.s3.routes import S3_ROUTES

ROUTES: tuple[Route[Handler], ...] = (
    *buckets.ROUTES,
    *upload.ROUTES,
    *download.ROUTES,
    *listing.ROUTES,
    *changes.ROUTES,
    *signing.ROUTES,
    *resumable.ROUTES,
    *render.ROUTES,
    *operations.ROUTES,
    *credentials.ROUTES,
    *S3_ROUTES,
)
