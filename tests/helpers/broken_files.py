"""Configurations and certificate files that people really have, and the line with which each is refused."""

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PublicFormat, pkcs7, pkcs12
from helpers import certificates
from helpers.certificates import client, fabric_ca, foreign_ca, issue

CONFIG = """\
[Certs]
BrokerCertChain = ca.crt
CertFile = client.crt
PrivateKey = client.key

[Brokers]
# id = id;port;host name;IP address
one = one;8883;127.0.0.1

[BrokersWebSockets]
"""

Spoil = Callable[[Path], object]
Content = str | bytes | Callable[[], str | bytes]


def write_good(directory: Path) -> Path:
    """Write a configuration in which nothing is wrong, with its files; return its path."""
    (directory / "ca.crt").write_text(fabric_ca().pem)
    (directory / "client.crt").write_text(client().pem)
    (directory / "client.key").write_text(client().key_pem)
    (directory / "client.key").chmod(0o600)
    config_file = directory / "dxlclient.config"
    config_file.write_text(CONFIG)
    return config_file


class Broken(NamedTuple):
    """One kind of broken set-up."""

    spoil: Spoil
    """What breaks a good one; gets the path of the configuration."""

    message: str
    """What the user reads after that path; {dir} is its directory, {cwd} the current one, <date> a date."""


def edit(old: str, new: str) -> Spoil:
    """Replace a text in the configuration."""

    def spoil(config_file: Path) -> None:
        text = config_file.read_text()
        assert old in text
        config_file.write_text(text.replace(old, new))

    return spoil


def encode(text: str, encoding: str) -> Spoil:
    """Save the configuration in an encoding, with a comment that says so."""
    return lambda config_file: config_file.write_bytes(f"# {text}\n{CONFIG}".encode(encoding))


def put(name: str, content: Content) -> Spoil:
    """Replace a file beside the configuration."""

    def spoil(config_file: Path) -> None:
        made = content() if callable(content) else content
        config_file.with_name(name).write_bytes(made.encode() if isinstance(made, str) else made)

    return spoil


def instead(make: Callable[[Path], object], name: str = "dxlclient.config") -> Spoil:
    """Put something that is not a file in the place of one."""

    def spoil(config_file: Path) -> None:
        config_file.with_name(name).unlink()
        make(config_file.with_name(name))

    return spoil


def weak(identity: Callable[[], certificates.Identity]) -> Spoil:
    """Use the certificate of another client, with its key."""

    def spoil(config_file: Path) -> None:
        put("client.crt", identity().pem)(config_file)
        put("client.key", identity().key_pem)(config_file)

    return spoil


def line(old: str, new: str, message: str) -> Broken:
    """A text of the configuration that is wrong."""
    return Broken(edit(old, new), message)


def crt(content: Content, message: str) -> Broken:
    """A wrong client certificate."""
    return Broken(put("client.crt", content), f"CertFile ({{dir}}/client.crt) {message}")


def key(content: Content, message: str) -> Broken:
    """A wrong key."""
    return Broken(put("client.key", content), f"PrivateKey ({{dir}}/client.key) {message}")


def ca(content: Content, message: str) -> Broken:
    """A wrong bundle of CA certificates."""
    return Broken(put("ca.crt", content), f"BrokerCertChain ({{dir}}/ca.crt) {message}")


def _csr() -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(client().certificate.subject)
    return request.sign(client().key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _public_key() -> bytes:
    return client().key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _pkcs12() -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"client", client().key, client().certificate, None, NoEncryption()
    )


def _damaged(pem: str) -> str:
    return pem[:40] + "A" * 8 + pem[48:]


def _small_key() -> certificates.Identity:
    return issue("client", fabric_ca(), key=rsa.generate_private_key(65537, 1024))


def _ws(value: str) -> Spoil:
    return edit("[BrokersWebSockets]", f"[General]\nUseWebSockets = {value}\n[BrokersWebSockets]")


def _both(*spoils: Spoil) -> Spoil:
    def spoil(config_file: Path) -> None:
        for one in spoils:
            one(config_file)

    return spoil


_WEBSOCKETS = "[General]\nUseWebSockets = yes\n[BrokersWebSockets]\none = one;443;127.0.0.1\n"


def _proxy(lines: str) -> Spoil:
    return edit("[BrokersWebSockets]\n", f"{_WEBSOCKETS}[Proxy]\n{lines}\n")


KINDS: dict[str, Broken] = {
    # The file itself.
    "no file": Broken(
        Path.unlink,
        "the configuration cannot be read: No such file or directory; 'python -m dxlclient "
        "provisionconfig' makes one",
    ),
    "a directory": Broken(
        instead(Path.mkdir),
        "the configuration cannot be read: it is a directory; 'python -m dxlclient "
        "provisionconfig' makes one",
    ),
    "a FIFO": Broken(
        instead(os.mkfifo),
        "the configuration cannot be read: it is not a regular file; 'python -m dxlclient "
        "provisionconfig' makes one",
    ),
    "a huge file": Broken(
        lambda file: os.truncate(file, 2_000_000),
        "the configuration cannot be read: 2000000 bytes are too many; 'python -m dxlclient "
        "provisionconfig' makes one",
    ),
    "a binary file": Broken(
        lambda file: file.write_bytes(b"\x7fELF\x02\0\0\0"), "it is a binary file, not a configuration"
    ),
    "UTF-16": Broken(encode("PowerShell", "utf-16"), "the file is saved as UTF-16: save it as UTF-8"),
    "UTF-16 without a mark": Broken(
        encode("PowerShell", "utf-16-le"), "the file is saved as UTF-16: save it as UTF-8"
    ),
    "Latin-1": Broken(
        encode("Zürich", "latin-1"),
        "line 1 is not UTF-8 and seems to be Latin-1 or Windows-1252: save the file as UTF-8",
    ),
    # Its values.
    "a comma in a path": line(
        "client.crt",
        "/etc/dxl/Doe, Jane/client.crt",
        "CertFile is read as ['/etc/dxl/Doe', 'Jane/client.crt'], because a comma separates values:"
        " put it in quotes",
    ),
    "a # in a path": line(
        "client.crt",
        "/etc/C#/client.crt",
        "CertFile is read as '/etc/C', because # begins a comment (#/client.crt): put it in quotes",
    ),
    "a %(x)s in a path": line(
        "client.crt",
        "/etc/%(x)s/client.crt",
        "CertFile has a %(name)s, which stands for another setting and cannot be quoted: rename the"
        " file or directory",
    ),
    "a missing setting": line("CertFile = client.crt\n", "", "give a value to CertFile"),
    "an empty setting": line("CertFile = client.crt", "CertFile =", "give a value to CertFile"),
    "placeholders": line("client.", "<path>/client.", "give a value to CertFile, PrivateKey"),
    "a setting in lower case": line("CertFile", "certfile", "give a value to CertFile (not certfile)"),
    "a section in lower case": line(
        "[Certs]",
        "[certs]",
        "give a value to BrokerCertChain, CertFile, PrivateKey in a section [Certs] (not certs)",
    ),
    "no section": line(
        "[Certs]\n", "", "give a value to BrokerCertChain, CertFile, PrivateKey in a section [Certs]"
    ),
    "a client id with a comma": line(
        "[Certs]",
        "[General]\nClientId = a, b\n[Certs]",
        "ClientId is read as ['a', 'b'], because a comma separates values: put it in quotes",
    ),
    "neither true nor false": Broken(_ws("maybe"), "UseWebSockets must be true or false, got 'maybe'"),
    # Its lines.
    "a section inside another one": line(
        "[Brokers]", "[[Brokers]]", "the section [[Brokers]] is inside [Certs]: write [Brokers]"
    ),
    "a section that is a setting": Broken(
        lambda file: file.write_text(f"General = x\n{CONFIG}"), "General must be a section: write [General]"
    ),
    "a section without its end": line(
        "[Certs]", "[Certs", "line 1: '[Certs' must be a section or 'setting = value', with quotes in pairs"
    ),
    "unequal brackets": line(
        "[Brokers]", "[[Brokers]", "line 6: '[[Brokers]' has brackets that do not match"
    ),
    "one quote": line(
        "client.crt",
        '"client.crt',
        "line 3: 'CertFile' must be a section or 'setting = value', with quotes in pairs",
    ),
    "a setting twice": line(
        "CertFile = client.crt", "CertFile = a\nCertFile = b", "line 4: 'CertFile' is there twice"
    ),
    "a line without a value": line(
        "CertFile = client.crt",
        "client.crt",
        "line 3: 'client.crt' must be a section or 'setting = value', with quotes in pairs",
    ),
    # The brokers and the proxy.
    "a broker without a port": line(
        "one;8883;",
        "one;",
        "line 8: the broker 'one;127.0.0.1' must be id;port;host name;IP address, without commas, "
        "with an id that is not a number and a port from 1 to 65535",
    ),
    "a broker with commas": line(
        "one;8883;127.0.0.1",
        "one,8883,127.0.0.1",
        "line 8: the broker 'one, 8883, 127.0.0.1' must be id;port;host name;IP address, without "
        "commas, with an id that is not a number and a port from 1 to 65535",
    ),
    "a broker with a port out of range": line(
        "8883",
        "70000",
        "line 8: the broker 'one;70000;127.0.0.1' must be id;port;host name;IP address, without "
        "commas, with an id that is not a number and a port from 1 to 65535",
    ),
    "a broker whose id is a number": line(
        "one;8883",
        "1;8883",
        "line 8: the broker '1;8883;127.0.0.1' must be id;port;host name;IP address, without "
        "commas, with an id that is not a number and a port from 1 to 65535",
    ),
    "a broker without a host": line(
        "127.0.0.1",
        "",
        "line 8: the broker 'one;8883;' must be id;port;host name;IP address, without commas, with "
        "an id that is not a number and a port from 1 to 65535",
    ),
    "a broker that is a URL": line(
        "127.0.0.1",
        "ssl://127.0.0.1",
        "line 8: the broker 'one;8883;ssl://127.0.0.1' must be id;port;host name;IP address, "
        "without commas, with an id that is not a number and a port from 1 to 65535",
    ),
    "no broker": line("one = ", "# one = ", "no broker is named: add one to the section [Brokers]"),
    "WebSocket brokers, but UseWebSockets off": Broken(
        _both(
            _ws("no"),
            edit("one = one;8883;127.0.0.1\n", ""),
            edit("[BrokersWebSockets]\n", "[BrokersWebSockets]\none = one;443;h\n"),
        ),
        "UseWebSockets = no selects the section [Brokers], which names no broker, while "
        "[BrokersWebSockets] names 1: change UseWebSockets, or add a broker",
    ),
    "WebSockets without brokers": Broken(
        _ws("true"),
        "UseWebSockets = true selects the section [BrokersWebSockets], which names no broker, while"
        " [Brokers] names 1: change UseWebSockets, or add a broker",
    ),
    "a proxy without a port": Broken(
        _proxy("Address = proxy.example.com"),
        "[Proxy] must have an Address and a Port from 1 to 65535, got 'proxy.example.com' and None",
    ),
    "a proxy with a bad port": Broken(
        _proxy("Address = 127.0.0.1\nPort = http"),
        "[Proxy] must have an Address and a Port from 1 to 65535, got '127.0.0.1' and 'http'",
    ),
    "an empty proxy": Broken(
        _proxy("Address =\nPort ="), "[Proxy] must have an Address and a Port from 1 to 65535, got '' and ''"
    ),
    "a proxy whose name is unknown": Broken(
        _proxy("Address = no-such-proxy.invalid\nPort = 3128"),
        "the proxy's name no-such-proxy.invalid cannot be resolved: Name or service not known",
    ),
    "a proxy's password with a comma": Broken(
        _proxy("Address = 127.0.0.1\nPort = 3128\nPassword = a,b"),
        "Password is read as 2 values, because a comma separates values: put it in quotes",
    ),
    # The files that it names.
    "a file that is not there": line(
        "client.crt",
        "gone.crt",
        "CertFile (gone.crt) cannot be read: no such file in {cwd}, nor beside the configuration",
    ),
    "an absolute path that is wrong": line(
        "client.crt",
        "/no/such/client.crt",
        "CertFile (/no/such/client.crt) cannot be read: No such file or directory",
    ),
    "a ~ in a path": line(
        "client.crt",
        "~/client.crt",
        "CertFile (~/client.crt) cannot be read: neither ~ nor variables are replaced, write the whole path",
    ),
    "a variable in a path": line(
        "client.crt",
        "$HOME/client.crt",
        "CertFile ($HOME/client.crt) cannot be read: neither ~ nor variables are replaced, write "
        "the whole path",
    ),
    "a directory for a file": Broken(
        instead(Path.mkdir, "client.crt"),
        "CertFile (client.crt) cannot be read: no such file in {cwd}, nor beside the configuration",
    ),
    "a FIFO for a file": Broken(
        instead(os.mkfifo, "client.key"),
        "PrivateKey (client.key) cannot be read: no such file in {cwd}, nor beside the configuration",
    ),
    "an empty file": crt("", "is empty: get the file again"),
    "junk": crt("junk", "is not in PEM format: it has no line -----BEGIN CERTIFICATE-----"),
    "a page of HTML": ca("<html>Sign in</html>", "is HTML or XML, not PEM: get the file again"),
    "PEM in UTF-16": crt(lambda: client().pem.encode("utf-16"), "is saved as UTF-16: save it as UTF-8"),
    "PEM in Base64": crt(
        lambda: base64.b64encode(client().pem.encode()),
        "is a PEM file in Base64, as in a Kubernetes secret: decode it with 'base64 -d'",
    ),
    "PEM without its first and last line": crt(
        lambda: re.sub("-----.*-----\n", "", client().pem),
        "is Base64 without the lines BEGIN and END: get the whole PEM file",
    ),
    "PEM with literal \\n": key(
        lambda: client().key_pem.replace("\n", "\\n"),
        "has \\n written out where lines must end: put each line on its own",
    ),
    "PEM on one line": crt(
        lambda: client().pem.replace("\n", " "), "has its PEM on one line: get the file with its line ends"
    ),
    "PEM indented by YAML": crt(
        lambda: client().pem.replace("-----B", "  -----B").replace("\n", "\n  "),
        "is indented: remove the blanks at the start of its lines",
    ),
    "PEM behind a name": crt(
        lambda: f"cert: {client().pem}",
        "has text in front of a BEGIN: remove it, or put it on a line of its own",
    ),
    "PEM cut off": crt(lambda: client().pem[:-30], "is cut off: a line END is missing, get the whole file"),
    "PEM that is damaged": crt(
        lambda: _damaged(client().pem), "is damaged: certificate 1 of 1 cannot be decoded, get it again"
    ),
    "two files joined": ca(
        lambda: fabric_ca().pem.strip() + foreign_ca().pem,
        "has two blocks that were joined without a line end: put one before each BEGIN",
    ),
    "DER": crt(
        lambda: client().certificate.public_bytes(Encoding.DER),
        "is in DER format: convert it to PEM with 'openssl x509' or 'openssl pkey'",
    ),
    "PKCS#12": crt(_pkcs12, "is a PKCS#12 file: convert it to PEM with 'openssl pkcs12'"),
    "PKCS#7": crt(
        lambda: pkcs7.serialize_certificates([client().certificate], Encoding.PEM),
        "must hold a CERTIFICATE, holds PKCS#7: convert it with 'openssl pkcs7 -print_certs'",
    ),
    "PKCS#7 in DER": crt(
        lambda: pkcs7.serialize_certificates([client().certificate], Encoding.DER),
        "is a PKCS#7 file: convert it with 'openssl pkcs7'",
    ),
    "a Java key store": crt(
        b"\xfe\xed\xfe\xed\0\0\0\x02", "is a Java key store: export what it holds in PEM format"
    ),
    "a signing request": crt(
        _csr,
        "must hold a CERTIFICATE, holds a signing request (CSR): use the certificate that was issued for it",
    ),
    "certificate and key swapped": Broken(
        _both(put("client.crt", lambda: client().key_pem), put("client.key", lambda: client().pem)),
        "CertFile ({dir}/client.crt) must hold a CERTIFICATE, holds a private key: that is for PrivateKey",
    ),
    "a public key": key(_public_key, "must hold a PRIVATE KEY, holds a public key"),
    "an SSH key": key(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        "must hold a PRIVATE KEY, holds an SSH key",
    ),
    "a key with a password": key(
        lambda: client().encrypted_key_pem,
        "has a password, which dxlclient cannot give: remove it with 'openssl pkey'",
    ),
    "an older key with a password": key(
        lambda: client().old_encrypted_key_pem,
        "has a password, which dxlclient cannot give: remove it with 'openssl pkey'",
    ),
    "a key that is damaged": key(
        lambda: _damaged(client().key_pem), "is damaged: it cannot be decoded, get it again"
    ),
    "the key of another certificate": key(
        lambda: fabric_ca().key_pem, "is not the key of the first certificate in {dir}/client.crt"
    ),
    "the CA before the certificate": Broken(
        put("client.crt", lambda: fabric_ca().pem + client().pem),
        "PrivateKey ({dir}/client.key) is not the key of the first certificate in {dir}/client.crt",
    ),
    "a certificate signed with SHA-1": crt(
        lambda: certificates.with_sha1(client(), fabric_ca()).pem,
        "has a weak key or signature, which this OpenSSL refuses (CA_MD_TOO_WEAK): have it issued "
        "anew, with an RSA key of 2,048 bits or more and SHA-256",
    ),
    "an RSA key of 1,024 bits": Broken(
        weak(_small_key),
        "CertFile ({dir}/client.crt) has a weak key or signature, which this OpenSSL refuses "
        "(EE_KEY_TOO_SMALL): have it issued anew, with an RSA key of 2,048 bits or more and SHA-256",
    ),
    "one bad block behind a good one": ca(
        lambda: fabric_ca().pem + _damaged(foreign_ca().pem),
        "is damaged: certificate 2 of 2 cannot be decoded, get it again",
    ),
    "an expired CA": ca(
        lambda: issue("old", is_ca=True, begins=-9, ends=-2).pem,
        "expired on <date>, and the clock of this machine says <date>: 'python -m dxlclient "
        "updateconfig' gets the present CA certificates",
    ),
    "a CA that is not valid yet": ca(
        lambda: issue("new", is_ca=True, begins=2).pem,
        "is valid only from <date>, and the clock of this machine says <date>: set the clock",
    ),
    "a key for CA certificates": ca(
        lambda: client().key_pem, "must hold a CERTIFICATE, holds a private key: that is for PrivateKey"
    ),
    "a revocation list": ca(
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        "must hold a CERTIFICATE, holds a revocation list",
    ),
}
