"""Who is calling: tokens, API keys, secrets, and the `Caller` every service receives.

Knows cryptography and claims.  Does not know HTTP, databases or services.
"""
