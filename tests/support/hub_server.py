"""A local HTTP server standing in for the Hub: the answers that matter, as the Hub gives them."""

import hashlib
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """What the stand-in knows of one repository."""

    files: dict = field(default_factory=dict)  # path -> bytes
    card: dict = field(default_factory=dict)
    tags: list = field(default_factory=list)
    gated: str | bool = False
    token: str | None = None  # who shows it may read a gated repository
    moved_to: str | None = None
    status: int | None = None  # answered to every question instead
    headers: dict = field(default_factory=dict)  # with that status
    ignores_range: bool = False
    wrong_digest: bool = False
    states_digests: bool = True  # of the large files
    downloads: int = 0
    pipeline_tag: str | None = None
    redirects: dict = field(default_factory=dict)  # file -> address that it is said to lie at
    revisions: tuple = ()  # commits that it has besides


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        steps = path.strip("/").split("/")
        self.server.seen.append((self.command, path, self.headers.get("Range"), self.headers.get("Authorization")))
        if path == "/api/models":
            return self.search(parse_qs(urlsplit(self.path).query))
        api = steps[:2] == ["api", "models"]
        steps = steps[2:] if api else steps
        repo = self.server.repositories.get("/".join(steps[:2]))
        if repo is None:
            return self.answer(401, {"X-Error-Code": "RepoNotFound"})
        if repo.moved_to:
            return self.answer(307, {"Location": self.path.replace("/".join(steps[:2]), repo.moved_to)})
        if repo.status:
            return self.answer(repo.status, repo.headers)
        if api:
            revision = "/".join(steps[3:]) if steps[2:3] == ["revision"] else "main"
            return self.describe("/".join(steps[:2]), repo, revision)
        return self.hand_out(repo, "/".join(steps[4:]), steps[3] if steps[3:4] and steps[3] in repo.revisions else SHA)

    def search(self, query):
        """Every repository that fits, as the Hub lists them."""
        time.sleep(self.server.pause)
        words, author = query.get("search", [""])[0].lower(), query.get("author", [""])[0]
        found = [
            {
                "id": name,
                "sha": SHA,
                "downloads": repo.downloads,
                "lastModified": "2026-05-04T03:02:01.000Z",
                "tags": repo.tags,
                "pipeline_tag": repo.pipeline_tag,
                "gated": repo.gated,
                "cardData": repo.card,
                "siblings": [{"rfilename": file} for file in repo.files],
            }
            for name, repo in self.server.repositories.items()
            if words in name.lower() and name.startswith(author) and set(query.get("filter", [])) <= set(repo.tags)
        ]
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(found).encode())

    def describe(self, name, repo, revision):
        if revision not in ("main", SHA, "refs/pr/1", *repo.revisions):
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {
                "rfilename": file,
                "size": len(data),
                "lfs": {"sha256": digest(repo, data), "size": len(data), "pointerSize": 130}
                if repo.states_digests and large(file)
                else None,
            }
            for file, data in repo.files.items()
        ]
        told = {
            "id": name,
            "sha": revision if revision in repo.revisions else SHA,
            "gated": repo.gated,
            "private": False,
            "cardData": repo.card,
        }
        self.answer(200, {}, json.dumps({**told, "tags": repo.tags, "siblings": siblings}).encode())

    def hand_out(self, repo, file, commit):
        if file in repo.redirects:
            return self.answer(302, {"Location": repo.redirects[file]})
        if file not in repo.files:
            return self.answer(404, {"X-Error-Code": "EntryNotFound"})
        if repo.gated and (repo.token is None or self.headers.get("Authorization") != f"Bearer {repo.token}"):
            return self.answer(403, {"X-Error-Code": "GatedRepo"})
        data = repo.files[file]
        headers = {"ETag": f'"{digest(repo, data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted and not repo.ignores_range:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            part = data[int(start) : int(end) + 1 if end else None]
            headers["Content-Range"] = f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"
            return self.answer(206, headers, part)
        self.answer(200, headers, data)

    def answer(self, status, headers, data=b""):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(data)
            except ConnectionError:
                pass  # who asked has read enough


def large(file):
    return file.endswith((".safetensors", ".bin"))


def digest(repo, data):
    return hashlib.sha256(data).hexdigest() if not repo.wrong_digest else "0" * 64


@contextmanager
def serve(repositories):
    """Serve `repositories` (id -> Repository).

    Yields the server, with its `url`, the requests it has `seen`, and the `pause` before it answers a search (seconds).
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.repositories, server.seen, server.pause = repositories, [], 0.0
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
