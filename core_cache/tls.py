"""TLS for the cache: certificate, key and CA are checked in sentences for people, then make an SSLContext."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from core_cache.options import TlsOptions

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENTS = {"no": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_UTC_TIME, _GENERALIZED_TIME, _SEQUENCE = 0x17, 0x18, 0x30  # tags of ASN.1


class TlsError(Exception):
    """TLS cannot be used like this; the message is a sentence for people.

    `option`: the field of TlsOptions to blame.
    """

    def __init__(self, sentence: str, option: str) -> None:
        super().__init__(sentence)
        self.option = option


class Certificate:
    """The server's own certificate: from when to when it counts, as Unix times."""

    def __init__(self, path: str) -> None:
        """Reads the first certificate of a PEM file. Raises TlsError."""
        text = _read(path, "cert")
        begin, end = text.find("-----BEGIN CERTIFICATE-----"), text.find("-----END CERTIFICATE-----")
        if begin < 0 or end < begin:
            raise TlsError(f"the TLS certificate {path} holds no certificate in PEM form", "cert")
        try:
            block = text[begin : end + len("-----END CERTIFICATE-----")]
            self.not_before, self.not_after = _validity(ssl.PEM_cert_to_DER_cert(block))
        except (ValueError, IndexError):
            raise TlsError(f"the TLS certificate {path} is damaged", "cert") from None
        self._path = path

    def warnings(self, now: float) -> list[str]:
        """What clients will not accept about it."""
        if now > self.not_after:
            return [f"the TLS certificate {self._path} has expired on {_date(self.not_after)}: clients will refuse it"]
        if now < self.not_before:
            return [f"the TLS certificate {self._path} is not valid before {_date(self.not_before)}"]
        return []


def make_context(options: TlsOptions) -> tuple[ssl.SSLContext, Certificate]:
    """What the server shakes hands with, and its certificate. Raises TlsError."""
    certificate = Certificate(options.cert)
    _check_key(options.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if options.ciphers:
        try:
            context.set_ciphers(options.ciphers)
        except ssl.SSLError:
            raise TlsError(f"none of the TLS ciphers {options.ciphers!r} is known here", "ciphers") from None
    _load(context, options)
    if options.ca:
        _read(options.ca, "ca")
        try:
            context.load_verify_locations(options.ca)
        except ssl.SSLError:
            raise TlsError(f"the TLS CA certificate {options.ca} holds no certificate in PEM form", "ca") from None
    elif options.auth_clients != "no":
        what = f"clients' certificates are {options.auth_clients}, but no CA is named that they are checked by"
        raise TlsError(what, "ca")
    context.verify_mode = _CLIENTS[options.auth_clients]
    return context, certificate


def _load(context: ssl.SSLContext, options: TlsOptions) -> None:
    def asked() -> NoReturn:
        what = f"the TLS key {options.key} is encrypted: the cache has nobody to ask for its passphrase"
        raise TlsError(what, "key")

    try:
        context.load_cert_chain(options.cert, options.key, asked)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            what = f"the TLS key {options.key} does not belong to the certificate {options.cert}"
            raise TlsError(what, "key") from None
        if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"):
            what = f"the TLS certificate {options.cert} is too weak: {_words(error.reason)}"
            raise TlsError(what, "cert") from None
        what = f"the certificate {options.cert} or the key {options.key} is damaged or not in PEM form"
        raise TlsError(f"{what} ({_words(error.reason or 'unknown')})", "cert") from None


def _check_key(path: str) -> None:
    _read(path, "key")
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o027:
        what = "may be changed by its group" if not mode & 0o007 else "is open to every user of this machine"
        raise TlsError(f"the TLS key {path} {what} (mode {mode:o}): `chmod 600` it", "key")


def _read(path: str, option: str) -> str:
    what = {"cert": "certificate", "key": "key", "ca": "CA certificate"}[option]
    try:
        return Path(path).read_text(encoding="latin-1")  # what stands around the PEM blocks may be anything
    except FileNotFoundError:
        raise TlsError(f"the TLS {what} {path} does not exist", option) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TlsError(f"the TLS {what} {path} cannot be read ({reason})", option) from None


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")


def _date(unix: float) -> str:
    return datetime.datetime.fromtimestamp(unix, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _validity(der: bytes) -> tuple[float, float]:
    """notBefore and notAfter of a certificate. Raises ValueError or IndexError when it is none."""
    (_, body), *_ = _elements(der)
    (_, certificate), *_ = _elements(body)
    for tag, content in _elements(certificate):  # version, serial, algorithm, issuer, validity, …
        if tag == _SEQUENCE and content[:1] in (b"\x17", b"\x18"):
            begin, end = (_time(*element) for element in _elements(content))
            return begin, end
    raise ValueError("no validity")


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements, tag and content, of some DER."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size]), at + size
        if at + length > len(data):
            raise ValueError("cut short")
        yield tag, data[at : at + length]
        at += length


def _time(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
