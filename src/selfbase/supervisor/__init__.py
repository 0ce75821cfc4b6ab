"""The processes of one installation: PostgreSQL, the workers, and the parent that keeps them.

The parent imports little, so that it costs little; everything about projects happens in a worker.
"""
