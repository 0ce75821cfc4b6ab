"""The stages of a request as pure functions: scan, parse, plan, render, respond.

Nothing in here waits, reads the clock, or talks to a database.
"""
