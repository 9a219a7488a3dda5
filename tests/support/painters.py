"""Somebody who signs content credentials: a certificate, the authority that issued it, a key; and a picture."""

import datetime
import io

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image


def painter(curve=ec.SECP256R1):
    """A chain of certificates and a private key, as PEM files hold them."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(curve())
    chain = certificate("Painter", own, "Authority", authority, False)
    chain += certificate("Authority", authority, "Authority", authority, True)
    return chain, private_pem(own)


def private_pem(key):
    """The PEM file of a private key."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def certificate(name, key, issuer, issuer_key, authority):
    def named(text):
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
        )

    begin = datetime.datetime(2024, 1, 1)
    usage = x509.KeyUsage(not authority, False, False, False, False, authority, False, False, False)
    builder = x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=36500))
    builder = builder.add_extension(x509.BasicConstraints(authority, None), True).add_extension(usage, True)
    of = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    builder = builder.add_extension(of, False)
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def picture(kind="PNG"):
    data = io.BytesIO()
    Image.effect_noise((96, 64), 80).convert("RGB").save(data, kind)
    return data.getvalue()
