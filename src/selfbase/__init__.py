"""Selfbase: the whole Supabase platform as one Python package on real PostgreSQL."""

__version__ = "0.1.0"
