"""TLS connections to the API server, with certificates in memory.

The client library writes the certificates of a kubeconfig to temporary files. All processes that are forked later share
these files, and the first process that ends removes them. The connections of this service do not depend on such files.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from urllib3.util.ssl_ import create_urllib3_context


class CertificateError(Exception):
    """A certificate or a key cannot be used. The message says which one, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The certificates of a connection, in PEM format.

    Attributes:
        authority: the certificate authorities that are trusted to sign the API server's certificate; `None`: those of
            the operating system.
        certificate: the client certificate; `None`: the client has none.
        key: the private key of the client certificate.
    """

    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)

    @property
    def is_given(self) -> bool:
        """Whether the authority or the client certificate is set."""
        return self.authority is not None or self.certificate is not None


def make_context(material: TlsMaterial, *, verify: bool) -> ssl.SSLContext:
    """Make the TLS context of new connections.

    Args:
        material: the certificates.
        verify: whether to verify the API server's certificate.

    Raises:
        CertificateError: one of the certificates cannot be used.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    # As Go's clients do: a certificate that the kubeconfig names is trusted even if it is an intermediate one, and
    # older authorities lack extensions that Python 3.13 asks for.
    context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    if material.authority is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cadata=material.authority.decode("ascii", "replace"))
        except ssl.SSLError as error:
            raise CertificateError("the certificate authority is not a PEM certificate") from error
    if material.certificate is not None:
        if material.key is None:
            raise CertificateError("the client certificate has no key")
        try:
            with _temporary_file(material.certificate + b"\n" + material.key) as path:
                # Without this function, OpenSSL would ask for a password at the terminal.
                context.load_cert_chain(path, password=_refuse_password)
        except ssl.SSLError as error:
            raise CertificateError(
                "the client certificate and its key are not PEM, do not belong together, or the key has a password"
            ) from error
        except OSError as error:
            raise CertificateError(f"the client certificate cannot be loaded: {error.strerror}") from error
    return context


def _refuse_password() -> str:
    return ""


@contextmanager
def _temporary_file(content: bytes) -> Iterator[str]:
    """Yield the path of a temporary file with this content, which only this process can read.

    OpenSSL can load a client certificate only from a file. On Linux the file is in memory.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("client-certificate"), "wb") as memory:
            memory.write(content)
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
