"""Certificates for tests, made by `openssl`: an authority, and what it has signed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, as PEM files."""

    certificate: Path
    key: Path


def make_certificate(
    folder: Path, name: str, signer: Certificate | None = None, *, authority: bool = False
) -> Certificate:
    """Make a certificate for `localhost` and the loopback addresses.

    Args:
        folder: where to write it.
        name: its common name, and that of its files.
        signer: who signs it; `None`: itself.
        authority: whether it may sign others.
    """
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    command = ["openssl", "req", "-x509", *_CURVE, "-days", "2", "-subj", f"/CN={name}"]
    command += ["-keyout", str(made.key), "-out", str(made.certificate)]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"]
    command += ["-addext", f"basicConstraints=critical,CA:{str(authority).upper()}"]
    if signer is not None:
        command += ["-CA", str(signer.certificate), "-CAkey", str(signer.key)]
    subprocess.run(command, check=True, capture_output=True)
    return made
