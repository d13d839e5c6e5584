"""The certificates and the key of a configuration: whether they can be used, and if not, what they are."""

import os
import re
import ssl
import stat
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from dxlclient.client_config import DxlClientConfig

from dxlthreateventclient.exceptions import ConfigurationError

_LARGEST_FILE = 1_000_000  # bytes

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
)
# OpenSSL's codes for a signature or key that its security level forbids: of a client, and of a broker.
_WEAK = ("CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_KEY_TOO_SMALL", 66, 67, 68)
_STRONG = "with an RSA key of 2,048 bits or more and SHA-256"
_UPDATE = "'python -m dxlclient updateconfig' gets the present CA certificates"
# Its codes for the dates of a broker's certificate.
_NOT_YET_VALID = 9
_EXPIRED = 10


def regular_file(file: Path) -> bytes:
    """Return what is in a file, or raise a ConfigurationError with the bare reason."""
    try:
        status = file.stat()
        # Not even opened, since a FIFO would block.
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise ConfigurationError(f"it is {kind}")
        if status.st_size > _LARGEST_FILE:
            raise ConfigurationError(f"{status.st_size} bytes are too many")
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(error.strerror) from error


class _File:
    """The file of a setting."""

    def __init__(self, setting: str, path: str, wanted: str) -> None:
        self._where = f"{setting} ({path})"
        self._wanted = wanted  # how the labels of its PEM blocks end
        try:
            self._content = regular_file(Path(path))
        except ConfigurationError as error:
            reason = str(error)
            if re.search(r"^~|\$|%\w+%", path):
                reason = "neither ~ nor variables are replaced, write the whole path"
            elif not Path(path).is_absolute() and not Path(path).exists():
                reason = f"no such file in {Path.cwd()}, nor beside the configuration"
            raise self.problem(f"cannot be read: {reason}") from error

    def problem(self, what: str) -> ConfigurationError:
        """Return the error that says what is wrong with the file."""
        return ConfigurationError(f"{self._where} {what}")

    def wrong_form(self) -> str | None:
        """Say why OpenSSL does not take the file, if its form shows that."""
        content, wanted = self._content, self._wanted
        if not content.strip():
            return "is empty: get the file again"
        if b"-----BEGIN" not in content:
            found = (what for start, what in _BEGINNINGS if re.match(start, content, re.DOTALL))
            return next(found, f"is not in PEM format: it has no line -----BEGIN {wanted}-----")
        text = content.decode("utf-8-sig", errors="replace")
        if what := next((what for pattern, what in _LINES if re.search(pattern, text)), None):
            return what
        labels = _BEGIN.findall(text)
        if not any(label.endswith(wanted) and "SSH" not in label for label in labels):
            found = (what for ending, what in _LABELS if labels and labels[0].endswith(ending))
            return f"must hold a {wanted}, holds {next(found, 'something else')}"
        if len(self.blocks()) < len([label for label in labels if label.endswith(wanted)]):
            return "is cut off: a line END is missing, get the whole file"
        is_encrypted = "ENCRYPTED" in self.blocks()[0]
        return (
            "has a password, which dxlclient cannot give: remove it with 'openssl pkey'"
            if is_encrypted
            else None
        )

    def blocks(self) -> list[str]:
        """Return the wanted PEM blocks."""
        found = _BLOCK.finditer(self._content.decode(errors="replace"))
        return [block[0] for block in found if block[1].endswith(self._wanted)]


def _certificates(setting: str, path: str) -> tuple[_File, ssl.SSLContext]:
    """Return a file, and a context that trusts each of its certificates."""
    file = _File(setting, path, "CERTIFICATE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
        if context.cert_store_stats()["x509"]:
            return file, context
    except ssl.SSLError:
        pass
    raise file.problem(file.wrong_form() or _which_is_damaged(file.blocks()))


def _which_is_damaged(certificates: list[str]) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for number, certificate in enumerate(certificates, 1):
        try:
            context.load_verify_locations(cadata=certificate)
        except (ssl.SSLError, TypeError):
            return f"is damaged: certificate {number} of {len(certificates)} cannot be decoded, get it again"
    return "is refused by OpenSSL: get it again"


def check_ca(config: DxlClientConfig) -> str:
    """Check BrokerCertChain, and return what it holds."""
    path = config.broker_ca_bundle
    file, context = _certificates("BrokerCertChain", path)
    total, authorities = context.cert_store_stats()["x509"], context.get_ca_certs()
    if not authorities:
        return f"{path}: none of its {total} certificates is that of a CA; only such brokers are trusted"
    now = datetime.now(timezone.utc)
    begins, ends = (
        [_time(str(certificate[key])) for certificate in authorities] for key in ("notBefore", "notAfter")
    )
    valid = [end for begin, end in zip(begins, ends, strict=True) if begin <= now <= end]
    if not valid and min(begins) > now:
        raise file.problem(
            f"is valid only from {min(begins):%Y-%m-%d %H:%M} UTC, and the clock of this machine says"
            f" {now:%Y-%m-%d %H:%M} UTC: set the clock"
        )
    if not valid:
        raise file.problem(
            f"expired on {max(ends):%Y-%m-%d}, and the clock of this machine says {now:%Y-%m-%d}: {_UPDATE}"
        )
    return f"{path}: {len(valid)} of {total} certificates are valid ones of a CA, until {min(valid):%Y-%m-%d}"


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), timezone.utc)


def check_certificate(config: DxlClientConfig) -> str:
    """Check CertFile, and return what it is."""
    path = config.cert_file
    file, context = _certificates("CertFile", path)
    try:
        # The key is not there; OpenSSL looks at the certificate first.
        context.load_cert_chain(path, password="")
    except ssl.SSLError as error:
        if error.reason in _WEAK:
            raise file.problem(
                f"has a weak key or signature, which this OpenSSL refuses ({error.reason}): have it issued"
                f" anew, {_STRONG}"
            ) from error
    return f"{path} is a certificate"


def check_key(config: DxlClientConfig) -> str:
    """Check PrivateKey, and return whether it belongs to the certificate."""
    path = config.private_key
    file = _File("PrivateKey", path, "PRIVATE KEY")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    detail = f"{path} belongs to the certificate"
    try:
        context.load_cert_chain(config.cert_file, path, password="")
    except OSError as error:
        if isinstance(error, ssl.SSLError) and error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise file.problem(f"is not the key of the first certificate in {config.cert_file}") from error
        if wrong := file.wrong_form():
            raise file.problem(wrong) from error
        try:
            check_certificate(config)
        except ConfigurationError:
            detail = f"{path}: not compared with the certificate, which cannot be used"
        else:
            raise file.problem("is damaged: it cannot be decoded, get it again") from error
    if os.name == "posix" and Path(path).stat().st_mode & 0o077:
        detail += "; others can read it: 'chmod 600' keeps it private"
    return detail


CHECKS: dict[str, Callable[[DxlClientConfig], str]] = {
    "CA certificates": check_ca,
    "client certificate": check_certificate,
    "private key": check_key,
}
"""What to check of the files that a configuration names. Each returns what it found, or raises."""


def why_unusable(config: DxlClientConfig) -> str:
    """Say what is wrong with the files that a configuration names."""
    wrong = []
    for check in CHECKS.values():
        try:
            check(config)
        except ConfigurationError as error:
            wrong.append(str(error))
    return "; ".join(wrong)


def why_untrusted(
    error: ssl.SSLCertVerificationError, context: ssl.SSLContext, broker: str, bundle: str
) -> str:
    """Say what is wrong with the certificate of a broker, or with what it is compared to."""
    certificate, chain = f"the certificate of {broker}", f"BrokerCertChain ({bundle})"
    now = datetime.now(timezone.utc)
    ends = [_time(str(ca["notAfter"])) for ca in context.get_ca_certs()]
    if error.verify_code == _NOT_YET_VALID:
        clock = f"the clock of this machine says {now:%Y-%m-%d %H:%M} UTC"
        return f"{certificate} is not valid yet, and {clock}: set the clock"
    if error.verify_code == _EXPIRED:
        if min(ends, default=now) < now:
            return f"{certificate} has expired, or a CA certificate in {chain} has: {_UPDATE}"
        return f"{certificate} has expired: have it renewed on the broker"
    if error.verify_code in _WEAK:
        return (
            f"{certificate}, or that of its CA, is weak, and OpenSSL on this machine refuses it"
            f" ({error.verify_message}): have it issued anew, {_STRONG}"
        )
    if not ends:
        return f"{chain} holds no CA certificate, nor {certificate}: {_UPDATE}"
    return (
        f"{certificate} is not signed by a CA in {chain} ({error.verify_message}): {_UPDATE}; or is it not"
        " that of a DXL broker?"
    )
