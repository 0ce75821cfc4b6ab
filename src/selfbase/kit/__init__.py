"""What every service is built from: failures, settings, routes, events, clocks.

A short closed list. Nothing in here knows HTTP servers, databases or services.
"""
