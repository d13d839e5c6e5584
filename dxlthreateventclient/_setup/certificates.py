"""Checks the certificates and the key of a configuration, and explains why they cannot be used."""

import os
import re
import ssl
from base64 import b64decode
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.exceptions import ConfigurationError

_LARGEST_FILE = 1_000_000  # bytes

UTF_16 = rb"(\xff\xfe|\xfe\xff|.\0)"
"""The first bytes of a text in UTF-16."""
UPDATE = "'python -m dxlclient updateconfig' gets the present CA certificates"
WEAK = ("CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_KEY_TOO_SMALL", 66, 67, 68)
"""OpenSSL's codes for a weak signature or key: error reasons on the client, verify codes for the broker."""
STRONG = "have it issued anew, with an RSA key of 2,048 bits or more and SHA-256"

# Descriptions of files without a BEGIN line, by patterns in their content.
_NOT_PEM = (
    (rb"\A\s*\Z", "is empty: get the file again"),
    (rb"\A" + UTF_16, "is saved as UTF-16: save it as UTF-8"),
    (rb"\A\xfe\xed\xfe\xed", "is a Java key store: export what it holds in PEM format"),
    (rb"\A0.{3}\x02\x01\x03", "is a PKCS#12 file: convert it to PEM with 'openssl pkcs12'"),
    (
        rb"\A0.{3}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07",
        "is a PKCS#7 file: convert it with 'openssl pkcs7'",
    ),
    (rb"\A0[\x80-\xff]", "is in DER format: convert it to PEM with 'openssl x509' or 'openssl pkey'"),
    (rb"\A\s*LS0t", "is a PEM file in Base64, as in a Kubernetes secret: decode it with 'base64 -d'"),
    (rb"\A\s*MI", "is Base64 without the lines BEGIN and END: get the whole PEM file"),
    (rb"\A\s*<", "is HTML or XML, not PEM: get the file again"),
    (rb"", "is not in PEM format: it has no line -----BEGIN {}-----"),
)
# Descriptions of damaged files with a BEGIN line, by patterns in their lines.
_SPOILT_PEM = (
    (rb"-----\\n", r"has \n written out where lines must end: put each line on its own"),
    (rb"----------BEGIN", "has two blocks that were joined without a line end: put one before each BEGIN"),
    (rb"(?m)^[ \t]+-----BEGIN", "is indented: remove the blanks at the start of its lines"),
    (rb"(?m)^[^\n]+-----BEGIN", "has text in front of a BEGIN: remove it, or put it on a line of its own"),
    (rb"-----BEGIN [^-]+-----[ \t]*[^\s]", "has its PEM on one line: get the file with its line ends"),
)
# The remedies for PEM blocks of the wrong kind, by patterns in their labels.
_WRONG_KINDS = (
    ("REQUEST$", " (CSR): use the certificate that was issued for it"),
    ("PKCS7$", ": convert it with 'openssl pkcs7 -print_certs'"),
    ("^(?!OPENSSH).*PRIVATE KEY$", ": that is for PrivateKey"),
    ("CERTIFICATE$", ": that is for CertFile or BrokerCertChain"),
    ("", ""),
)

Finding = tuple[str, datetime | None, bool]
"""The result of a check: a description, an expiry date, and True for a warning."""


def in_words(error: BaseException) -> str:
    """Return the reason for an exception in plain words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, UnicodeError):
        return "not a host name"
    if isinstance(error, ssl.SSLError) and error.reason:
        return re.sub(r"^(SSLV3|TLSV1|TLSV13)_ALERT_", "", error.reason).lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def read(file: Path) -> bytes:
    """Return the content of a file, or raise a ValueError that contains only the reason."""
    try:
        size = file.stat().st_size
        if not (file.is_file() or file.is_dir()):  # reading a FIFO, for example, would block
            raise ValueError("it is not a regular file")
        if size > _LARGEST_FILE:
            raise ValueError(f"{size} bytes are too many")
        return file.read_bytes()
    except OSError as error:
        raise ValueError(in_words(error)) from error


def check_files(config: DxlClientConfig) -> Iterator[tuple[str, Finding | ConfigurationError]]:
    """Check each file that a configuration names. Yield the name and the result of each check."""
    for name, setting, path, check in (
        ("CA certificates", "BrokerCertChain", config.broker_ca_bundle, _check_ca),
        ("client certificate", "CertFile", config.cert_file, _check_certificate),
        ("private key", "PrivateKey", config.private_key, _check_key),
    ):
        try:
            yield name, check(config)
        except ValueError as error:
            yield name, ConfigurationError(f"{setting} ({path}) {error}")


def valid_until(certificates: Iterable[bytes], remedy: str) -> list[datetime]:
    """Return the expiry dates of all certificates that are valid now, the earliest first.

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
        return read(Path(path))
    except ValueError as error:
        where = f", neither in {Path.cwd()} nor beside the configuration (~ and variables are not replaced)"
        is_found = Path(path).is_absolute() or Path(path).exists()
        raise ValueError(f"cannot be read: {error}{'' if is_found else where}") from error


def _blocks(content: bytes, label: str) -> list[str]:
    """Return the PEM blocks whose labels end with ``label``."""
    pattern = rf"-----BEGIN ([^-]*{label})-----.*?-----END \1-----"
    return [block[0] for block in re.finditer(pattern, content.decode(errors="replace"), re.DOTALL)]


def _wrong_form(content: bytes, wanted: str) -> str | None:
    """Return the reason why OpenSSL rejects a file, if the form of the file shows the reason."""
    content = content.removeprefix(BOM_UTF8)
    for pattern, what in _SPOILT_PEM if b"-----BEGIN" in content else _NOT_PEM:
        if re.search(pattern, content, re.DOTALL):
            return what.format(wanted)
    labels = re.findall("-----BEGIN ([^-]+)-----", content.decode(errors="replace"))
    usable = [label for label in labels if label.endswith(wanted) and "SSH" not in label]
    blocks = _blocks(content, wanted)
    if not usable:
        label = labels[0] if labels else "something else"
        remedy = next(remedy for pattern, remedy in _WRONG_KINDS if re.search(pattern, label))
        return f"must hold a {wanted}, holds {label}{remedy}"
    if len(blocks) < len(usable):
        return "is cut off: a line END is missing, get the whole file"
    if "ENCRYPTED" in blocks[0]:
        return "has a password, which dxlclient cannot give: remove it with 'openssl pkey'"
    return None


def _certificates(path: str) -> tuple[ssl.SSLContext, list[bytes]]:
    """Return a context that trusts all certificates in a file, and the certificates in DER format."""
    content = _content(path)
    blocks = _blocks(content, "CERTIFICATE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLError):
        context.load_verify_locations(path)
        if context.cert_store_stats()["x509"]:
            return context, [b64decode(re.sub("-----.*?-----", "", block)) for block in blocks]
    if wrong := _wrong_form(content, "CERTIFICATE"):
        raise ValueError(wrong)
    for number, certificate in enumerate(blocks, 1):
        try:
            context.load_verify_locations(cadata=certificate)
        except (ssl.SSLError, TypeError) as error:
            which = f"certificate {number} of {len(blocks)}"
            raise ValueError(f"is damaged: {which} cannot be decoded, get it again") from error
    raise ValueError("is refused by OpenSSL: get it again")


def _check_ca(config: DxlClientConfig) -> Finding:
    path = config.broker_ca_bundle
    context, certificates = _certificates(path)
    total, authorities = context.cert_store_stats()["x509"], context.get_ca_certs(binary_form=True)
    ends = valid_until(authorities or certificates, UPDATE)
    detail = f"{len(ends)} of {total} certificates are valid ones of a CA, until {ends[0]:%Y-%m-%d}"
    if not authorities:
        detail = f"none of its {total} certificates is a CA's; only brokers with one of them are trusted"
    return f"{path}: {detail}", ends[0], False


def _check_certificate(config: DxlClientConfig) -> Finding:
    path = config.cert_file
    context, certificates = _certificates(path)
    try:
        # Without a key, this call always fails, but OpenSSL checks the certificate first.
        context.load_cert_chain(path, password="")
    except ssl.SSLError as error:
        if error.reason in WEAK:
            weak = f"has a weak key or signature, which this OpenSSL refuses ({error.reason}): {STRONG}"
            raise ValueError(weak) from error
    [end] = valid_until(certificates[:1], "'python -m dxlclient provisionconfig' gets a new one")
    subject = _parsed(certificates[0]).subject.human_friendly
    return f"{path} is valid until {end:%Y-%m-%d} ({subject})", end, False


def _check_key(config: DxlClientConfig) -> Finding:
    path = config.private_key
    content = _content(path)
    detail = f"{path} belongs to the certificate"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(config.cert_file, path, password="")
    except OSError as error:
        if isinstance(error, ssl.SSLError) and error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise ValueError(f"is not the key of the first certificate in {config.cert_file}") from error
        if wrong := _wrong_form(content, "PRIVATE KEY"):
            raise ValueError(wrong) from error
        try:
            _check_certificate(config)
        except ValueError:
            detail = f"{path}: not compared with the certificate, which cannot be used"
        else:
            raise ValueError("is damaged: it cannot be decoded, get it again") from error
    if os.name == "posix" and Path(path).stat().st_mode & 0o077:
        return f"{detail}; others can read it: 'chmod 600' keeps it private", None, True
    return detail, None, False
