"""A local time-stamp authority, made by openssl and served over HTTP: certificates, stamps at will, their mistakes."""

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

CONFIG = """
[ tsa ]
default_tsa = authority
[ authority ]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
USAGE = """
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,{usage}
"""


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True)
class Authority:
    """A folder with the keys and certificates of an authority: `ca.pem` is what a checker needs."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """The root certificate."""
        return self.folder / "ca.pem"

    def answer(self, request: bytes) -> bytes:
        """The response to a request, both in DER."""
        (self.folder / "request.tsq").write_bytes(request)
        given = ("-config", self.folder / "tsa.cnf", "-queryfile", self.folder / "request.tsq")
        _openssl("ts", "-reply", *given, "-out", self.folder / "response.tsr")
        return (self.folder / "response.tsr").read_bytes()

    def stamp(self, data: bytes) -> bytes:
        """A stamp of `data`, with the authority's certificates in it."""
        (self.folder / "data").write_bytes(data)
        _openssl("ts", "-query", "-data", self.folder / "data", "-sha256", "-cert", "-out", self.folder / "query.tsq")
        return self.answer((self.folder / "query.tsq").read_bytes())


def make_authority(folder: Path, name: str = "Local TSA", usage: str = "timeStamping", days: str = "3650") -> Authority:
    """Make a root, and the certificate that stamps.

    Args:
        folder: where they are written.
        name: of the one that stamps.
        usage: what its certificate is for.
        days: how long that certificate is valid, from now.
    """
    folder.mkdir(parents=True)
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-sha256")
    root = ("-x509", "-days", "3650", "-subj", f"/O={name} Root/CN={name} Root")
    _openssl(*new, *root, "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    _openssl(*new, "-subj", f"/O={name}/CN={name}", "-keyout", folder / "tsa.key", "-out", folder / "tsa.csr")
    (folder / "usage.cnf").write_text(USAGE.format(usage=usage))
    signed = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", days, "-sha256")
    made = ("-in", folder / "tsa.csr", "-extfile", folder / "usage.cnf", "-out", folder / "tsa.pem")
    _openssl("x509", "-req", *made, *signed)
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder))
    return Authority(folder)
