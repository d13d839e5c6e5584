"""Until when the certificates of a configuration are valid."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from dxlthreateventclient.exceptions import ConfigurationError

try:
    from cryptography import x509
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"check needs {error.name}: pip install 'dxlthreateventclient[cli]'", name=error.name
    ) from error

_SOON = 30  # days


def describe_ca_certificates(file: str) -> str:
    """Tell how many CA certificates there are, and until when they are valid.

    :raise ConfigurationError: if none is valid now
    """
    certificates = _load(file)
    errors = [_why_invalid(certificate) for certificate in certificates]
    valid = [certificate for certificate, error in zip(certificates, errors, strict=True) if not error]
    if not valid:
        raise ConfigurationError(f"{file}: {errors[0]}; get the CA certificates of the fabric anew")
    return f"{file}: {len(valid)} of {len(certificates)} CA certificates valid, {_until(valid)}"


def describe_client_certificate(file: str) -> str:
    """Tell whom the client certificate names, and until when it is valid.

    :raise ConfigurationError: if it is not valid now
    """
    certificate = _load(file)[0]
    if error := _why_invalid(certificate):
        raise ConfigurationError(
            f"{file}: {error}; 'python -m dxlclient provisionconfig' gets a new certificate"
        )
    return f"{file}: {certificate.subject.rfc4514_string()}, valid {_until([certificate])}"


def _load(file: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(Path(file).read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"{file} holds no certificate in PEM format: {error}") from error


def _why_invalid(certificate: x509.Certificate) -> str | None:
    now = datetime.now(timezone.utc)
    if certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return None
    return (
        f"valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to"
        f" {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and the clock of this machine says"
        f" {now:%Y-%m-%d %H:%M}"
    )


def _until(certificates: Sequence[x509.Certificate]) -> str:
    end = min(certificate.not_valid_after_utc for certificate in certificates)
    days = (end - datetime.now(timezone.utc)).days
    return f"until {end:%Y-%m-%d}" + (f", in {days} days: replace it soon" if days < _SOON else "")
