"""The metadata API: reads and changes the schema of a project, runs SQL, prints types.

Everything postgres-meta offers, at `/pg/*` for the service role, or alone at the root.  Knows the
catalog of PostgreSQL; knows nothing of other services.  Contract: docs/reference/meta.md.
"""
