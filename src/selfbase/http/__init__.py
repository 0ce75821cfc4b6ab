"""Requests, responses and WebSockets as values, and the shells that serve them.

This package knows HTTP.  It does not know projects, callers, databases or services.
"""
