"""A local time-stamp authority, made by openssl and served over HTTP: certificates, stamps at will, their mistakes."""

import subprocess
from collections.abc import Iterator
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
signer_digest = sha256{chain}
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
tsa_name = {named}
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


def make_authority(
    folder: Path,
    name: str = "Local TSA",
    usage: str = "timeStamping",
    days: str = "3650",
    chain: bool = False,
    named: str = "yes",
) -> Authority:
    """Make a root, and the certificate that stamps.

    Args:
        folder: where they are written.
        name: of the one that stamps.
        usage: what its certificate is for.
        days: how long that certificate is valid, from now.
        named: "no": leave the authority's name out of its stamps, as some do.
        chain: put the root into each stamp, too, as openssl does: in no order.
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
    (folder / "tsa.cnf").write_text(
        CONFIG.format(folder=folder, named=named, chain=f"\ncerts = {folder}/ca.pem" if chain else "")
    )
    return Authority(folder)


class Handler(BaseHTTPRequestHandler):
    """Answers each request for a stamp by the server's authority, or with what the server is told to answer."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer."""
        server = self.server
        assert isinstance(server, StampServer)
        request = self.rfile.read(int(self.headers["Content-Length"]))
        server.seen.append((self.headers["Content-Type"], request))
        answer = server.authority.answer(request) if server.reply is None else server.reply
        self.send_response(server.status)
        for name, value in {"Content-Type": "application/timestamp-reply", **server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)


class StampServer(ThreadingHTTPServer):
    """A server of one authority."""

    daemon_threads = True

    def __init__(self, authority: Authority, status: int, reply: bytes | None, headers: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.authority, self.status, self.reply, self.headers = authority, status, reply, headers
        self.seen: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}/tsr"


@contextmanager
def serve(
    authority: Authority, status: int = 200, reply: bytes | None = None, headers: dict[str, str] | None = None
) -> Iterator[StampServer]:
    """Serve an authority; `reply`: these bytes, whatever is asked."""
    server = StampServer(authority, status, reply, headers or {})
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
