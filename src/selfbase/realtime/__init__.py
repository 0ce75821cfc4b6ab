"""Realtime: broadcast, presence and database changes over WebSockets, for unmodified clients.

Read `service.py` first; the protocol itself is in `logic/`.
"""
