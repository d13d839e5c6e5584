"""The certificates and the key of a configuration: whether they can be used, and if not, what they are."""

import os
import re
import ssl
import stat
from datetime import datetime, timezone
from pathlib import Path

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.exceptions import ConfigurationError

_LARGEST_FILE = 1_000_000  # bytes

STRONG = "with an RSA key of 2,048 bits or more and SHA-256"
"""How to have a certificate issued."""

UTF_16 = rb"\xff\xfe|\xfe\xff|.\0"
"""How a text in UTF-16 begins."""

# How files begin that are not PEM, and what they are.
_BEGINNINGS = (
    (UTF_16, "is saved as UTF-16: save it as UTF-8"),
    (rb"\xfe\xed\xfe\xed", "is a Java key store: export what it holds in PEM format"),
    (rb"0.{3}\x02\x01\x03", "is a PKCS#12 file: convert it to PEM with 'openssl pkcs12'"),
    (rb"0.{3}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07", "is a PKCS#7 file: convert it with 'openssl pkcs7'"),
    (rb"0[\x80-\xff]", "is in DER format: convert it to PEM with 'openssl x509' or 'openssl pkey'"),
    (rb"\s*LS0t", "is a PEM file in Base64, as in a Kubernetes secret: decode it with 'base64 -d'"),
    (rb"\s*MI", "is Base64 without the lines BEGIN and END: get the whole PEM file"),
    (rb"\s*<", "is HTML or XML, not PEM: get the file again"),
)
# Ways to spoil the lines of a PEM file.
_LINES = (
    (r"-----\\n", r"has \n written out where lines must end: put each line on its own"),
    (r"----------BEGIN", "has two blocks that were joined without a line end: put one before each BEGIN"),
    (r"(?m)^[ \t]+-----BEGIN", "is indented: remove the blanks at the start of its lines"),
    (r"(?m)^[^\n]+-----BEGIN", "has text in front of a BEGIN: remove it, or put it on a line of its own"),
    (r"-----BEGIN [^-]+-----[ \t]*[^\s]", "has its PEM on one line: get the file with its line ends"),
)
_BEGIN = re.compile(r"-----BEGIN ([^-]+)-----")
_BLOCK = re.compile(r"-----BEGIN ([^-]+)-----.*?-----END \1-----", re.DOTALL)
# What PEM blocks hold, by the ends of their labels.
_LABELS = (
    ("REQUEST", "a signing request (CSR): use the certificate that was issued for it"),
    ("PKCS7", "PKCS#7: convert it with 'openssl pkcs7 -print_certs'"),
    ("CRL", "a revocation list"),
    ("PUBLIC KEY", "a public key"),
    ("OPENSSH PRIVATE KEY", "an SSH key"),
    ("PRIVATE KEY", "a private key: that is for PrivateKey"),
    ("CERTIFICATE", "a certificate: that is for CertFile or BrokerCertChain"),
    ("", "something else"),
)
# OpenSSL's codes for a signature or key that its security level forbids.
_WEAK = ("CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_KEY_TOO_SMALL")


def regular_file(file: Path) -> bytes:
    """Return what is in a file, or raise a ConfigurationError with the bare reason."""
    try:
        status = file.stat()
        # Not even opened, since a FIFO would block.
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError("a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        if status.st_size > _LARGEST_FILE:
            raise ConfigurationError(f"{status.st_size} bytes are too many")
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(error.strerror) from error


def _pem(setting: str, file: str, wanted: str) -> list[str]:
    """Return the PEM blocks of a file whose labels end in ``wanted``."""
    problem = _Problem(setting, file)
    text = _text(problem, file)
    labels = _BEGIN.findall(text)
    blocks = [block[0] for block in _BLOCK.finditer(text) if block[1].endswith(wanted)]
    if not labels:
        raise problem(f"is not in PEM format: it has no line -----BEGIN {wanted}-----")
    if "OPENSSH PRIVATE KEY" in labels or not any(label.endswith(wanted) for label in labels):
        what = next(what for ending, what in _LABELS if labels[0].endswith(ending))
        raise problem(f"must hold a {wanted}, holds {what}")
    if len(blocks) < sum(label.endswith(wanted) for label in labels):
        raise problem("is cut off: a line END is missing, get the whole file")
    return blocks


def _text(problem: "_Problem", file: str) -> str:
    """Return the text of a file in which the PEM blocks, if there are any, stand as they have to."""
    try:
        content = regular_file(Path(file))
    except ConfigurationError as error:
        if re.search(r"^~|\$|%\w+%", file):
            raise problem(
                "cannot be read: neither ~ nor variables are replaced, write the whole path"
            ) from error
        if not Path(file).exists() and not Path(file).is_absolute():
            raise problem(
                f"cannot be read: no such file in {Path.cwd()}, nor beside the configuration"
            ) from error
        raise problem(f"cannot be read: {error}") from error
    if not content.strip():
        raise problem("is empty: get the file again")
    for beginning, what in _BEGINNINGS:
        if re.match(beginning, content, re.DOTALL):
            raise problem(what)
    text = content.decode("utf-8-sig", errors="replace")
    for pattern, what in _LINES:
        if re.search(pattern, text):
            raise problem(what)
    return text


class _Problem:
    """Makes the error about the file of a setting."""

    def __init__(self, setting: str, file: str) -> None:
        self._where = f"{setting} ({file})"

    def __call__(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self._where} {what}")


def _certificates(setting: str, file: str) -> ssl.SSLContext:
    """Return a context that trusts each certificate of a file."""
    problem = _Problem(setting, file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blocks = _pem(setting, file, "CERTIFICATE")
    for number, block in enumerate(blocks, 1):
        try:
            context.load_verify_locations(cadata=block)
        except (ssl.SSLError, TypeError) as error:
            raise problem(
                f"is damaged: certificate {number} of {len(blocks)} cannot be decoded, get it again"
            ) from error
    return context


def check_ca(config: DxlClientConfig) -> str:
    file = config.broker_ca_bundle
    problem = _Problem("BrokerCertChain", file)
    context = _certificates("BrokerCertChain", file)
    total, authorities = context.cert_store_stats()["x509"], context.get_ca_certs()
    if not authorities:
        return f"{file}: none of its {total} certificates is that of a CA; only such brokers are trusted"
    now = datetime.now(timezone.utc)
    begins, ends = (
        [_time(str(certificate[key])) for certificate in authorities] for key in ("notBefore", "notAfter")
    )
    valid = [end for begin, end in zip(begins, ends, strict=True) if begin <= now <= end]
    if not valid and min(begins) > now:
        raise problem(
            f"is valid only from {min(begins):%Y-%m-%d %H:%M} UTC, and the clock of this machine says"
            f" {now:%Y-%m-%d %H:%M} UTC: set the clock"
        )
    if not valid:
        raise problem(
            f"expired on {max(ends):%Y-%m-%d}, and the clock of this machine says {now:%Y-%m-%d}: get the"
            " present CA certificates with 'python -m dxlclient updateconfig'"
        )
    return f"{file}: {len(valid)} of {total} certificates are valid ones of a CA, until {min(valid):%Y-%m-%d}"


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), timezone.utc)


def check_certificate(config: DxlClientConfig) -> str:
    file = config.cert_file
    _certificates("CertFile", file)
    try:
        # The key is not there: what counts is how OpenSSL finds the certificate, which it looks at first.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(file, password="")
    except ssl.SSLError as error:
        if error.reason in _WEAK:
            raise _Problem("CertFile", file)(
                f"has a weak key or signature, which this OpenSSL refuses ({error.reason}): have it issued"
                f" anew, {STRONG}"
            ) from error
    return f"{file} is a certificate"


def check_key(config: DxlClientConfig) -> str:
    file = config.private_key
    problem = _Problem("PrivateKey", file)
    block = _pem("PrivateKey", file, "PRIVATE KEY")[0]
    if "ENCRYPTED" in block:
        raise problem("has a password, which dxlclient cannot give: remove it with 'openssl pkey'")
    detail = file
    try:
        check_certificate(config)
    except ConfigurationError:
        detail += ": not compared with the certificate, which cannot be used"
    else:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(config.cert_file, file, password="")
        except ssl.SSLError as error:
            if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
                raise problem(f"is not the key of the first certificate in {config.cert_file}") from error
            raise problem("is damaged: it cannot be decoded") from error
        detail += " belongs to the certificate"
    if os.name == "posix" and Path(file).stat().st_mode & 0o077:
        detail += "; others can read it: 'chmod 600' keeps it private"
    return detail
