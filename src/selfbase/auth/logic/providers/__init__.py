"""External sign-in providers: what each of them is, and how its answers become a profile.

Pure data and functions: which URLs, which scopes, which member of which answer is the e-mail
address.  Requests are made by `selfbase.auth.external`.
"""
