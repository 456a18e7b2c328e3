"""How private keys and certificates go into the state file: as DER, since their objects can't be pickled.

The file is readable by its owner alone, like the keys of an SSH client.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa


def load_key(data: bytes) -> Any:
    """The private key that was written as DER."""
    # Its numbers were checked when it was made; checking them again takes long for each.
    return serialization.load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True)


def _reduce_key(key: Any) -> tuple[Any, ...]:
    plain = serialization.NoEncryption()
    return load_key, (key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain),)


def load_certificate(data: bytes) -> Any:
    """The certificate that was written as DER."""
    return x509.load_der_x509_certificate(data)


def _reduce_certificate(certificate: Any) -> tuple[Any, ...]:
    return load_certificate, (certificate.public_bytes(serialization.Encoding.DER),)


@functools.cache
def reducers() -> dict[type, Callable[[Any], tuple[Any, ...]]]:
    """By type, for a pickler's dispatch table; the types have no public names, so one of each kind is made."""
    made = (
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
    )
    return {**{type(key): _reduce_key for key in made}, x509.Certificate: _reduce_certificate}
