"""Realistic examples of broken configuration and certificate files, with keywords from the expected error."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12
from helpers.certificates import Identity, client, fabric_ca, foreign_ca, issue, with_sha1

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
Content = Callable[[], str | bytes]


def write_good(directory: Path) -> Path:
    """Write a valid configuration file, along with its certificates and key, and return the file's path."""
    (directory / "ca.crt").write_text(fabric_ca().pem)
    config_file = directory / "dxlclient.config"
    config_file.write_text(CONFIG)
    use(client)(config_file)
    return config_file


def use(identity: Callable[[], Identity]) -> Spoil:
    """Replace the client certificate and key beside the configuration."""

    def spoil(config_file: Path) -> None:
        config_file.with_name("client.crt").write_text(identity().pem)
        config_file.with_name("client.key").write_text(identity().key_pem)
        config_file.with_name("client.key").chmod(0o600)

    return spoil


def edit(old: str, new: str) -> Spoil:
    """Replace text in the configuration."""

    def spoil(config_file: Path) -> None:
        text = config_file.read_text()
        assert old in text
        config_file.write_text(text.replace(old, new))

    return spoil


def put(name: str, content: Content) -> Spoil:
    """Replace the configuration or a file beside it."""

    def spoil(config_file: Path) -> None:
        made = content()
        config_file.with_name(name).write_bytes(made.encode() if isinstance(made, str) else made)

    return spoil


class Broken(NamedTuple):
    """One kind of broken set-up."""

    spoil: Spoil
    """A function that breaks a correct set-up, given the path of the configuration."""

    words: str
    """Parts of the error message, separated by bars."""


def _config(content: str | bytes) -> Spoil:
    return put("dxlclient.config", lambda: content)


def _websockets(lines: str) -> Spoil:
    return edit("[BrokersWebSockets]\n", f"[General]\nUseWebSockets = yes\n[BrokersWebSockets]\n{lines}")


def _proxy(lines: str) -> Spoil:
    return _websockets(f"one = one;443;127.0.0.1\n[Proxy]\n{lines}\n")


def _damaged(pem: str) -> str:
    return pem[:40] + "A" * 8 + pem[48:]


def _issued(begins: int, ends: int) -> Identity:
    return issue("client", fabric_ca(), begins=begins, ends=ends)


KINDS: dict[str, Broken] = {
    # The configuration file itself.
    "no file": Broken(Path.unlink, "no such file; 'python | provisionconfig' creates one"),
    "UTF-16": Broken(_config(CONFIG.encode("utf-16")), "is not in UTF-8, but perhaps in UTF-16"),
    "Latin-1": Broken(_config(b"# \xfc\n"), "Latin-1 or Windows-1252: save it as UTF-8"),
    # The lines of the configuration.
    "a setting twice": Broken(edit("PrivateKey", "CertFile"), "Duplicate keyword name at line 4"),
    "one quote": Broken(edit("client.crt", '"x'), "dxlclient cannot read it: Parse error in value at line 3"),
    "a section inside another one": Broken(
        edit("[Brokers]", "[[Brokers]]"), "Brokers in [Certs] is not read: write [Brokers]"
    ),
    # The values of the settings.
    "a comma": Broken(
        edit("client.crt", "/Doe, Jane"),
        "CertFile is read as 2 values, because a comma separates values: put it in quotes",
    ),
    "placeholders": Broken(
        edit("client.", "<path>/client."), "give a value to CertFile, PrivateKey in [Certs]"
    ),
    "a section in lower case": Broken(edit("[Certs]", "[certs]"), "[certs] is not read: write [Certs]"),
    "a setting in lower case": Broken(
        edit("CertF", "certF"), "certFile in [Certs] is not read: write CertFile in"
    ),
    "a setting at the end of the file": Broken(
        edit("[BrokersWebSockets]\n", "[BrokersWebSockets]\nUseWebSockets = yes\n"),
        "UseWebSockets in [BrokersWebSockets] must be id;port;host name;IP address",
    ),
    "a setting of another name": Broken(
        edit("CertFile", "CertificateFile"),
        "give a value to CertFile in [Certs]; CertificateFile | is CertFile in [Certs] meant?",
    ),
    "no section": Broken(edit("[Certs]", "[Certificates]"), "give a value to BrokerCertChain | in [Certs]"),
    "neither true nor false": Broken(
        edit("[Certs]", "[General]\nUseWebSockets = maybe\n[Certs]"), '"maybe" is neither True nor False'
    ),
    # The brokers and the proxy.
    "a broker with commas": Broken(
        edit("one;8883;", "one,8883,"),
        "one in [Brokers] must be id;port;host name;IP address, without commas | from 1 to 65535",
    ),
    "no broker": Broken(edit("[Brokers]", "[Mine]"), "no broker is configured: add one to [Brokers]"),
    "WebSockets without brokers": Broken(
        _websockets(""), "add one to [BrokersWebSockets], or change UseWebSockets"
    ),
    "a proxy without a port": Broken(_proxy("Address = a"), "Port from 1 to 65535, got 'a' and None"),
    "a proxy whose name is unknown": Broken(
        _proxy("Address = no-such-proxy.invalid\nPort = 3128"),
        "no-such-proxy.invalid cannot be resolved: Name",
    ),
    "a proxy's password with %(x)s": Broken(
        _proxy("Password = a%(x)sb"), "Password has a %(name)s | cannot be quoted"
    ),
    # Files named in the configuration.
    "a file that is not there": Broken(
        edit("client.crt", "~/x.crt"),
        "CertFile (~/x.crt) cannot be read | nor beside the configuration | not replaced",
    ),
    "PEM in DER": Broken(
        put("client.crt", lambda: client().certificate.public_bytes(Encoding.DER)),
        "DER format | openssl x509",
    ),
    "PEM with literal \\n": Broken(
        put("client.key", lambda: client().key_pem.replace("\n", "\\n")), "PrivateKey | has \\n written out"
    ),
    "a certificate for the key": Broken(
        put("client.key", lambda: client().pem),
        "must hold a PRIVATE KEY in PEM format, holds CERTIFICATE",
    ),
    "PEM cut off": Broken(
        put("client.crt", lambda: client().pem[:-30]), "is truncated, the END line is missing"
    ),
    "one bad block behind a good one": Broken(
        put("ca.crt", lambda: fabric_ca().pem + _damaged(foreign_ca().pem)),
        "ca.crt) is damaged and cannot be decoded",
    ),
    "a key with a password": Broken(put("client.key", lambda: client().encrypted_key_pem), "has a password"),
    "a key that is damaged": Broken(
        put("client.key", lambda: _damaged(client().key_pem)), "is damaged and cannot be decoded"
    ),
    "the CA before the certificate": Broken(
        put("client.crt", lambda: fabric_ca().pem + client().pem),
        "is not the key of the first certificate in",
    ),
    "a certificate signed with SHA-1": Broken(
        put("client.crt", lambda: with_sha1(client(), fabric_ca()).pem),
        "has a weak key or signature | SHA-256",
    ),
    # The dates of the certificates.
    "an expired CA": Broken(
        put("ca.crt", lambda: issue("old", is_ca=True, begins=-9, ends=-2).pem),
        "ca.crt) expired on | updateconfig'",
    ),
    "an expired certificate": Broken(use(lambda: _issued(-9, -2)), "expired on | provisionconfig'"),
    "a certificate that is not valid yet": Broken(
        use(lambda: _issued(2, 9)),
        "CertFile | is valid only from | the clock of this machine says | set the clock",
    ),
}


def _pkcs12() -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"", client().key, client().certificate, None, NoEncryption()
    )


FORMS: dict[str, Content] = {
    "is empty": lambda: " \n",
    "in PEM format, holds no line BEGIN": lambda: "junk",
    "saved as UTF-16": lambda: client().pem.encode("utf-16"),
    "is a PKCS#12 file": _pkcs12,
    "is a PEM file in Base64": lambda: base64.b64encode(client().pem.encode()),
    "is HTML or XML": lambda: "<html>Sign in</html>",
    "has a BEGIN that does not start a line": lambda: client().pem.strip() + fabric_ca().pem,
    "is in OpenSSH's own format": lambda: "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "has its PEM on one line": lambda: client().pem.replace("\n", " "),
}
"""Other certificate formats, by a part of the error message."""
