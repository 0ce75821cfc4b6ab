"""Decisions of Realtime: frames, channels, presence, filters, decoding.  Values in, values out."""
