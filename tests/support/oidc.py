"""An OpenID Connect issuer on loopback: its two documents over TLS, and the tokens that it signs.

https://openid.net/specs/openid-connect-discovery-1_0.html. The tokens are signed by `openssl`, with RS256 (RFC 7518,
section 3.3).
"""

import base64
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.certificates import make_certificate

_KEY_ID = "test"


class Issuer:
    """A running issuer.

    Attributes:
        url: its URL.
        authority: the certificate of its certificate authority, as PEM.
    """

    def __init__(self, url: str, authority: str, key: Path) -> None:
        self.url = url
        self.authority = authority
        self._key = key

    def token(self, subject: str, audience: str, *, seconds: int = 600, **claims: Any) -> str:
        """Sign a token.

        Args:
            subject: the user.
            audience: the client that it is for.
            seconds: how long it is valid; a negative number makes one that has expired.
            claims: further claims.
        """
        now = int(time.time())
        body = {"iss": self.url, "aud": audience, "sub": subject, "iat": now - 3600, "exp": now + seconds, **claims}
        signed = f"{_encode_json({'alg': 'RS256', 'kid': _KEY_ID, 'typ': 'JWT'})}.{_encode_json(body)}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(command, input=signed.encode(), check=True, capture_output=True).stdout
        return f"{signed}.{_encode(signature)}"


@contextmanager
def serve_issuer(folder: Path) -> Iterator[Issuer]:
    """Serve an issuer until the end of the context."""
    authority = make_certificate(folder, "authority", authority=True)
    certificate = make_certificate(folder, "issuer", authority)
    key = folder / "token.key"
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(key))
    documents: dict[str, Any] = {"/jwks": {"keys": [_read_public_key(key)]}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = documents.get(self.path)
            body = json.dumps(document).encode()
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    documents["/.well-known/openid-configuration"] = {
        "issuer": url,
        "jwks_uri": f"{url}/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
    thread = threading.Thread(target=server.serve_forever, name="issuer", daemon=True)
    thread.start()
    try:
        yield Issuer(url, authority.certificate.read_text("ascii"), key)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read_public_key(key: Path) -> dict[str, str]:
    """Return the public key as a JSON Web Key (RFC 7517). The exponent of `openssl`'s keys is 65537."""
    modulus = _openssl("rsa", "-in", str(key), "-noout", "-modulus").strip().partition("=")[2]
    number = _encode(bytes.fromhex(modulus))
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID, "n": number, "e": "AQAB"}


def _openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _encode_json(document: Any) -> str:
    return _encode(json.dumps(document).encode())
