"""Checks a configuration's certificates and private key, and explains any problems."""

import os
import re
import ssl
from base64 import b64decode
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.exceptions import ConfigurationError

UPDATE = "'python -m dxlclient updateconfig' gets the current CA certificates"
WEAK = ("CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_KEY_TOO_SMALL", 66, 67, 68)
"""OpenSSL's codes for a weak signature or key: error reasons on the client, verify codes for the broker."""
STRONG = "have it reissued with SHA-256 and an RSA key of at least 2,048 bits"

# Patterns to search for in a file that OpenSSL rejects, each with a description of the problem. The first
# match counts.
_FORMS = (
    (rb"\A\s*\Z", "is empty: get the file again"),
    (rb"\A(\xff\xfe|\xfe\xff|.\0)", "is saved as UTF-16: save it as UTF-8"),
    (rb"\A0.{3}\x02\x01\x03", "is a PKCS#12 file: convert it to PEM with 'openssl pkcs12'"),
    (rb"\A0[\x80-\xff]", "is in DER format: convert it to PEM with 'openssl x509' or 'openssl pkey'"),
    (rb"\A\s*LS0t", "is a PEM file in Base64, as in a Kubernetes secret: decode it with 'base64 -d'"),
    (rb"\A\s*<", "is HTML or XML, not PEM: get the file again"),
    (rb"[^\n]-----BEGIN", "has a BEGIN that does not start a line: put each one on a line of its own"),
    (rb"BEGIN [^-]+-----[ \t]*\S", r"has its PEM on one line, or has \n written out: separate the lines"),
    (rb"BEGIN OPENSSH", "is in OpenSSH's own format: convert it with 'ssh-keygen -p -m PEM'"),
    (rb"ENCRYPTED", "has a password, which dxlclient cannot supply: remove it with 'openssl pkey'"),
    (rb"-----BEGIN (?!.*-----END [^-]+-----)", "is truncated, the END line is missing: get the whole file"),
)
_DAMAGED = "is damaged and cannot be decoded: get it again"


class Step(NamedTuple):
    """The result of a check that :func:`~dxlthreateventclient.configuration.load_configuration` performs."""

    name: str
    """``configuration``, ``CA certificates``, ``client certificate`` or ``private key``."""

    detail: str = ""
    """The finding, if there is no error."""

    ends: datetime | None = None
    """The earliest expiry date of the certificates."""

    is_warning: bool = False
    """True if the detail is a warning."""

    error: ConfigurationError | None = None
    """The error, if the check failed."""

    config: DxlClientConfig | None = None
    """The configuration, in the first step, unless it could not be read."""


def in_words(error: BaseException) -> str:
    """Explain an exception in plain words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError) and error.reason:
        return re.sub(r"^(SSLV3|TLSV1|TLSV13)_ALERT_", "", error.reason).lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check_files(config: DxlClientConfig, where: str = "") -> Iterator[Step]:
    """Check each certificate file and key file named in a configuration.

    :param config: the configuration
    :param where: the beginning of each error message
    """
    for name, setting, path, check in (
        ("CA certificates", "BrokerCertChain", config.broker_ca_bundle, _check_ca),
        ("client certificate", "CertFile", config.cert_file, _check_certificate),
        ("private key", "PrivateKey", config.private_key, _check_key),
    ):
        try:
            yield check(name, config)
        except ValueError as error:
            yield Step(name, error=ConfigurationError(f"{where}{setting} ({path}) {error}"))


def valid_until(certificates: Iterable[bytes], remedy: str) -> list[datetime]:
    """Return the expiry dates of all currently valid certificates, earliest first.

    :param certificates: certificates in DER format
    :param remedy: the advice for expired certificates
    :raise ValueError: if no certificate is valid now
    """
    now = datetime.now(timezone.utc)
    dates = [(parsed.not_valid_before, parsed.not_valid_after) for parsed in map(_parsed, certificates)]
    if ends := sorted(end for begin, end in dates if begin <= now <= end):
        return ends
    clock = f"and the clock of this machine says {now:%Y-%m-%d %H:%M} UTC"
    begin, end = min(dates)[0], max(end for _, end in dates)
    if begin > now:
        raise ValueError(f"is valid only from {begin:%Y-%m-%d %H:%M} UTC, {clock}: set the clock")
    raise ValueError(f"expired on {end:%Y-%m-%d}, {clock}: {remedy}")


def _parsed(certificate: bytes) -> Any:
    from asn1crypto import x509  # noqa: PLC0415 - takes a sixth of this package's import time

    return x509.Certificate.load(certificate)


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        where = f", neither in {Path.cwd()} nor beside the configuration (~ and variables are not replaced)"
        is_found = Path(path).is_absolute() or Path(path).exists()
        raise ValueError(f"cannot be read: {in_words(error)}{'' if is_found else where}") from error


def _wrong_form(content: bytes, wanted: str) -> str | None:
    """Explain why OpenSSL rejects a file, or return None if its content does not show why."""
    content = content.removeprefix(BOM_UTF8)
    for pattern, what in _FORMS:
        if re.search(pattern, content, re.DOTALL):
            return what
    labels = re.findall("-----BEGIN ([^-]+)-----", content.decode(errors="replace"))
    if not any(label.endswith(wanted) for label in labels):
        return f"must hold a {wanted} in PEM format, holds {', '.join(labels) or 'no line BEGIN'}"
    return None


def _certificates(path: str) -> list[bytes]:
    """Return all certificates from a file, converted to DER format."""
    content = _content(path)
    blocks = re.findall(rb"CERTIFICATE-----([^-]+)-----END", content)
    with suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        if blocks:
            return [b64decode(block) for block in blocks]
    raise ValueError(_wrong_form(content, "CERTIFICATE") or _DAMAGED)


def _check_ca(name: str, config: DxlClientConfig) -> Step:
    path = config.broker_ca_bundle
    certificates = _certificates(path)
    ends = valid_until(certificates, UPDATE)
    detail = f"{path}: {len(ends)} of {len(certificates)} certificates are valid, until {ends[0]:%Y-%m-%d}"
    return Step(name, detail, ends[0])


def _check_certificate(name: str, config: DxlClientConfig) -> Step:
    path = config.cert_file
    certificate = _certificates(path)[0]
    try:
        # Without a private key, load_cert_chain() always fails, but OpenSSL checks the certificate before it
        # looks for the key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, password="")
    except ssl.SSLError as error:
        if error.reason in WEAK:
            weak = f"has a weak key or signature, which this OpenSSL refuses ({error.reason}): {STRONG}"
            raise ValueError(weak) from error
    [end] = valid_until([certificate], "'python -m dxlclient provisionconfig' gets a new one")
    subject = _parsed(certificate).subject.human_friendly
    return Step(name, f"{path} is valid until {end:%Y-%m-%d} ({subject})", end)


def _check_key(name: str, config: DxlClientConfig) -> Step:
    path = config.private_key
    content = _content(path)
    detail = f"{path} belongs to the certificate"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(config.cert_file, path, password="")
    except OSError as error:
        if getattr(error, "reason", "") in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise ValueError(f"is not the key of the first certificate in {config.cert_file}") from error
        if wrong := _wrong_form(content, "PRIVATE KEY"):
            raise ValueError(wrong) from error
        try:
            _check_certificate(name, config)
        except ValueError:
            detail = f"{path}: not compared with the certificate, which cannot be used"
        else:
            raise ValueError(_DAMAGED) from error
    if os.name == "posix" and Path(path).stat().st_mode & 0o077:
        return Step(name, f"{detail}; other users can read it: use 'chmod 600'", is_warning=True)
    return Step(name, detail)
