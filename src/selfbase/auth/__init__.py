"""Auth: who a person is, how they prove it, and the sessions and tokens that follow.

Owns the schema `auth` and everything under `/auth/v1`.  Speaks the protocol of supabase/auth
(GoTrue) 2.196; the contract is docs/reference/auth.md.  Start reading in `service.py`.

Must not know: the gateway, other services, or where settings come from.
"""
