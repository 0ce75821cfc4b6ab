"""SAML 2.0 as a service provider: metadata, requests, responses, attributes.

Pure functions over text and values.  Signatures are judged by signxml; only what it returns as
signed is ever read.  Sources: OASIS SAML 2.0 core, bindings, profiles and metadata; the attacks of
Somorovsky et al., "On Breaking SAML: Be Whoever You Want to Be".
"""
