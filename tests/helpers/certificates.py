"""Good and bad certificates for tests."""

import functools
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The key, without a password."""
        return self._key_pem(NoEncryption())

    @property
    def encrypted_key_pem(self) -> str:
        """The key, with a password."""
        return self._key_pem(BestAvailableEncryption(b"secret"))

    def configure(self, context: ssl.SSLContext) -> None:
        """Configure a server's TLS context to present the certificate."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(self.pem + self.key_pem)
            file.flush()
            context.load_cert_chain(file.name)

    def _key_pem(self, encryption: NoEncryption | BestAvailableEncryption) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def issue(
    name: str,
    issuer: Identity | None = None,
    *,
    is_ca: bool = False,
    key: rsa.RSAPrivateKey | None = None,
    begins: int = -1,
    ends: int = 3650,
) -> Identity:
    """Issue a certificate that is valid from ``begins`` days to ``ends`` days from now."""
    key = key or rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Identity(certificate, key)


def with_sha1(identity: Identity, issuer: Identity) -> Identity:
    """Issue a certificate with a SHA-1 signature, which the cryptography package cannot create."""
    request = x509.CertificateSigningRequestBuilder().subject_name(identity.certificate.subject)
    files = {
        "request": request.sign(identity.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode(),
        "ca": issuer.pem,
        "key": issuer.key_pem,
    }
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            Path(directory, name).write_text(content)
        command = "openssl x509 -req -in request -CA ca -CAkey key -sha1 -set_serial 1 -days 10"
        signed = subprocess.run(command.split(), cwd=directory, capture_output=True, check=True).stdout
    return Identity(x509.load_pem_x509_certificate(signed), identity.key)


@functools.cache
def fabric_ca() -> Identity:
    """The CA of a fabric."""
    return issue("fabric", is_ca=True)


@functools.cache
def foreign_ca() -> Identity:
    """A CA that the fabric does not trust."""
    return issue("foreign", is_ca=True)


@functools.cache
def client() -> Identity:
    """A client of the fabric."""
    return issue("client", fabric_ca())


@functools.cache
def broker() -> Identity:
    """A broker of the fabric."""
    return issue("broker", fabric_ca())
