"""Why the certificate of a server is refused: libpq only says that it is.

A second handshake, through Python's own TLS, gets OpenSSL's words, such as "self-signed
certificate".  Nothing is sent on it but the request for TLS.
Source: PostgreSQL documentation, 54.2.11 (SSL session encryption).
"""

from __future__ import annotations

import asyncio
import ssl
import struct

from psycopg.conninfo import conninfo_to_dict

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_TIMEOUT_S = 5.0


async def explain_refused_certificate(conninfo: str) -> str | None:
    """OpenSSL's reason; None when the certificate is taken this time, or nobody answers."""
    params = conninfo_to_dict(conninfo)
    host, root = str(params.get("host")), str(params.get("sslrootcert", "system"))
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await _shake_hands(host, int(params.get("port") or 5432), root)
    except ssl.SSLCertVerificationError as refused:
        return refused.verify_message
    except (OSError, EOFError, ValueError):
        return None
    return None


async def _shake_hands(host: str, port: int, root: str) -> None:
    context = ssl.create_default_context(cafile=None if root == "system" else root)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_SSL_REQUEST)
        if await reader.readexactly(1) == b"S":
            await writer.start_tls(context, server_hostname=host)
    finally:
        writer.close()
