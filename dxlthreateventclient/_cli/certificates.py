"""How long certificates are valid."""

from datetime import datetime, timezone

from dxlthreateventclient import ConfigurationError
from dxlthreateventclient._cli.terminal import CommandError


def validity(pem: bytes, name: str, remedy: str, *, number: int | None = 1) -> tuple[str, str, int]:
    """Return how long so many certificates, or all, are valid.

    :return: whom the first one names, until when all are valid that are valid now, and how many days that is
    :raise ConfigurationError: if none is valid now; it has the name and the remedy
    """
    try:
        from cryptography import x509  # noqa: PLC0415 - from an extra
    except ModuleNotFoundError as error:
        what = f"check needs {error.name}: pip install 'dxlthreateventclient[cli]'"
        raise CommandError(what, status=2) from error
    now = datetime.now(timezone.utc)
    certificates = x509.load_pem_x509_certificates(pem)[:number]
    dates = [
        (certificate.not_valid_before_utc, certificate.not_valid_after_utc) for certificate in certificates
    ]
    ends = [end for begin, end in dates if begin <= now <= end]
    if not ends:
        first, last, clock = (f"{date:%Y-%m-%d %H:%M}" for date in (*dates[0], now))
        what = f"{name} is valid only from {first} to {last} UTC, and the clock of this machine says {clock}"
        raise ConfigurationError(f"{what}; {remedy}")
    end = min(ends)
    return certificates[0].subject.rfc4514_string(), f"{end:%Y-%m-%d}", (end - now).days
