"""The fixed SQL of this folder."""

from __future__ import annotations

from importlib import resources

from selfbase.storage.queries import load_queries

S3_SQL = load_queries(resources.files("selfbase.storage.s3") / "queries.sql")
