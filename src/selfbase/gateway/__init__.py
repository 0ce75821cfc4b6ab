"""The one public port: finds the project and the service of a request, checks the key, and limits.

Receives projects with their services; imports none of them.
"""
