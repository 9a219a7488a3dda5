"""The page among strangers: hostile files, names and numbers get one sentence, and nothing of the server's is shown."""

import io
import json
import pickle
import re
import select
import socket
import struct
import time
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from gradio_client import Client

from cgidm.page.runs import store as visit
from cgidm.page.runs.settings import PRESET_NAMES
from tests.support.page_client import FILE, PageClient, api_arguments, sentence
from tests.support.page_runs import write_bank
from tests.support.paths import ROOT, SUSPECTS, pictures_of

GERALD = SUSPECTS[0]
LEAKS = re.compile(rf"Traceback|File \"|{ROOT}|/tmp|/home|/root|site-packages|hf_[A-Za-z]{{8}}")


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_models")]


@pytest.fixture(scope="module")
def server(small_server):
    return small_server


@pytest.fixture(scope="module")
def client(server):
    return PageClient(server.url)


@pytest.fixture(scope="module")
def picture(client):
    return client.upload(pictures_of(GERALD, "member")[0])[0]


@pytest.fixture(scope="module")
def controls(client):
    return client.upload(*pictures_of(GERALD, "control")[:2])


@pytest.fixture(autouse=True)
def still_answers(server, client):
    """After each test, whatever was sent in it."""
    yield
    kind, found = client.call("inspect", [f"shipped:{GERALD}", None])
    assert server.alive() and kind == "complete" and found[0]["sha256"]


def refusal(answer, server):
    """The sentence that a call was refused with."""
    kind, data = answer
    assert kind == "error" and isinstance(data["error"], str), answer
    said = data["error"]
    assert 10 < len(said) < 600 and "\n" not in said and not LEAKS.search(said), said
    assert str(server.folder) not in said
    return said


def png(width, height):
    """A 1-bit PNG of zeros, packed without ever being held."""
    pack = zlib.compressobj(9)
    rows = b"".join(pack.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + pack.flush()
    parts = (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")
    sums = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(sums)


def test_the_page_starts_within_seconds(server, client):
    assert client.http.get("").status_code == 200
    print(f"\n{server.startup:.1f} s of a processor until it served")
    assert server.startup < 40  # about 8 alone; a processor that others share counts up to three times as many


def test_a_path_in_the_name_of_a_file_stays_a_name(server, client):
    data = pictures_of(GERALD, "member")[1].read_bytes()
    for name in ("../../../cgidm-visits/shown/evil.jpg", "..\\..\\evil.jpg", "/etc/evil.jpg"):
        (sent,) = client.upload((name, data))
        assert Path(sent["path"]).parents[1] == server.folder / "gradio" and sent["path"].endswith("evil.jpg")
        said = refusal(client.call("authenticate", api_arguments(sent, "shipped:none")), server)
        assert sentence("resources.unknown_model").fullmatch(said)
    assert not list(server.folder.rglob("cgidm-visits/**/evil.jpg"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pickle.safetensors", pickle.dumps({"a": 1})),
        ("huge.safetensors", struct.pack("<Q", 10 * 10**9) + b'{"a":'),
        ("long.safetensors", struct.pack("<Q", 90_000_000) + b"{" * 1000),
        ("empty.safetensors", b""),
        ("model.ckpt", pickle.dumps({"a": 1})),
    ],
)
def test_a_hostile_model_is_one_sentence(server, client, picture, controls, name, data):
    (sent,) = client.upload((name, data))
    for answer in (
        client.call("inspect", ["", sent]),
        client.call("authenticate", api_arguments(picture, "", controls, upload=sent)),
    ):
        said = refusal(answer, server)
        assert "safetensors" in said


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("wide.png", png(30_000, 1), "30000 x 1"),
        ("bomb.png", png(30_000, 30_000), "pixels"),
        ("text.png", b"hello", "not a picture"),
        ("empty.png", b"", "empty"),
        ("script.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not a picture"),
    ],
)
def test_a_hostile_picture_is_one_sentence(server, client, controls, name, data, said):
    (sent,) = client.upload((name, data))
    assert len(data) < 500_000
    for answer in (
        client.call("authenticate", api_arguments(sent, GERALD, controls)),
        client.call("portfolio", api_arguments([sent, sent], GERALD, controls)),
    ):
        words = refusal(answer, server)
        assert said in words and name in words and "xpected" in words


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "Invalid JSON"),
        (b"[" * 100_000, "is not one"),
        (pickle.dumps({"models": 1}), "is not one"),
        (b" " * 5_000_001, "5,000,001"),
        (json.dumps({"<script>": 1}).encode(), "is not one"),
    ],
    ids=["cut", "deep", "pickle", "large", "script"],
)
def test_a_hostile_bank_is_one_sentence(server, client, picture, data, said):
    (sent,) = client.upload(("bank.json", data))
    words = refusal(client.call("authenticate", api_arguments(picture, GERALD, bank=sent)), server)
    assert said in words and "bank.json" in words and "xpected" in words


def test_a_program_asks_with_a_bank_or_with_a_search(server, client, picture, controls, tmp_path):
    (bank,) = client.upload(Path(write_bank(tmp_path / "bank.json", seed=0)))
    kind, answer = client.call("authenticate", api_arguments(picture, GERALD, bank=bank))
    assert kind == "complete", answer
    record = answer[0]
    assert record["bank"]["models"] == 4 and len(record["control_scores"]) == 40
    kind, answer = client.call("authenticate", api_arguments(picture, GERALD, controls, search=True))
    assert kind == "complete", answer
    record = answer[0]
    assert len(record["config"]["views"]) == 7 and record["pictures"][0]["view"]
    both = {
        "run.bank_and_controls": api_arguments(picture, GERALD, controls, bank=bank),
        "page.bank_and_search": api_arguments(picture, GERALD, bank=bank, search=True),
        "page.bank_and_lineup": api_arguments(picture, GERALD, bank=bank, lineup=6),
        "run.bank_and_unrelated": api_arguments(picture, GERALD, bank=bank, unrelated=f"shipped:{SUSPECTS[1]}"),
    }
    for code, wish in both.items():
        assert sentence(code).fullmatch(refusal(client.call("authenticate", wish), server))


def test_a_program_names_an_unrelated_model(server, client, picture, controls):
    other = f"shipped:{SUSPECTS[1]}"
    kind, (record, _, _) = client.call("authenticate", api_arguments(picture, GERALD, controls, unrelated=other))
    assert kind == "complete" and SUSPECTS[1] in record["models"]["unrelated"]
    assert re.fullmatch("[0-9a-f]{64}( [0-9a-f]{64})*", record["models"]["unrelated_sha256"])


def test_a_program_asks_for_a_line_up(server, client, picture):
    controls = client.upload(*pictures_of(GERALD, "control")[:3])
    events = list(
        client.events("authenticate", client.submit("authenticate", api_arguments(picture, GERALD, controls, lineup=3)))
    )
    phases = [data[0]["phase"] for _, data in events if "phase" in data[0]]
    assert "judged" in phases and phases[-1] == "decoys"
    [answered] = [data[0]["answer"] for _, data in events if data[0].get("phase") == "answered"]
    assert len(answered["pictures"]) == 1 and phases.index("answered") < phases.index("step")
    kind, (record, images, evidence) = events[-1]
    assert kind == "complete" and [len(r["decoys"]) for r in record["lineup"]["rounds"]] == [2] and len(images) == 4
    with zipfile.ZipFile(io.BytesIO(client.file(evidence["path"]).content)) as bundle:
        assert len([n for n in bundle.namelist() if n.startswith("lineup/")]) == 9
    said = refusal(client.call("authenticate", api_arguments(picture, GERALD, controls, lineup=6)), server)
    assert "at least 5 different control pictures for a line-up of 6, got 3" in said


@contextmanager
def upload_of(size, server):
    """A raw upload of one file of `size` bytes, of which only the head has been sent."""
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="big.safetensors"\r\n\r\n'
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size + len(part)}\r\n"
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + part)
        yield connection


def whole_answer(connection):
    """The head and the body of an answer, which may come in parts."""
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if end and length and len(body) >= int(length[1]):
            return answer.decode()
        part = connection.recv(2000)
        assert part, f"the answer ends early: {answer!r}"
        answer += part


def bytes_in(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_an_upload_of_two_gigabytes_is_refused_early_and_leaves_nothing(server):
    before, sent, most = bytes_in(server.folder), 0, 0
    with upload_of(2_000_000_000, server) as connection:
        while sent < 2_000_000_000 and not select.select([connection], [], [], 0)[0]:
            connection.sendall(bytes(1_000_000))
            sent += 1_000_000
            most = max(most, bytes_in(server.folder) - before) if sent % 50_000_000 == 0 else most
        answer = whole_answer(connection)
    assert answer.startswith(("HTTP/1.1 400", "HTTP/1.1 413")) and "exceeded" in answer and not LEAKS.search(answer)
    assert sent < 600_000_000 and most < 500_000_000 and bytes_in(server.folder) - before < 1_000_000


def test_what_an_upload_leaves_that_breaks_off_is_swept(server, monkeypatch, tmp_path):
    with upload_of(100_000_000, server) as connection:
        connection.sendall(bytes(30_000_000))
        time.sleep(0.5)
    time.sleep(0.5)
    monkeypatch.setattr(visit, "ROOT", tmp_path)
    uploads = server.folder / "gradio"
    visit.sweep(time.time() + visit.LIFETIME + 60, uploads)
    assert not list(uploads.glob("tmp*"))


@pytest.mark.parametrize("count", [0, 1, 31, 500])
def test_a_portfolio_has_2_to_30_pictures(server, client, count):
    data = png(64, 64)
    pictures = client.upload(*[(f"{i}.png", data) for i in range(count)]) if count else []
    said = refusal(client.call("portfolio", api_arguments(pictures, GERALD)), server)
    assert sentence("page.picture_count", given=count, fewest=2, most=30).fullmatch(said)


def test_no_picture_is_one_sentence(server, client):
    said = refusal(client.call("authenticate", api_arguments(None, GERALD)), server)
    assert sentence("page.no_picture").fullmatch(said)


def test_the_server_s_own_files_are_no_input_and_are_not_served(server, client, picture, controls):
    here = ("app.py", "assets/mini/model_index.json", "assets/controls")
    own = ["/etc/passwd", "/proc/self/environ", *(str(ROOT / name) for name in here)]
    for path in (*own, f"{server.url}config", "http://127.0.0.1:1/a.png", f"file://{own[0]}"):
        stolen = {"path": path, "meta": FILE}
        for answer in (
            client.call("authenticate", api_arguments(stolen, GERALD, controls)),
            client.call("authenticate", api_arguments(picture, "", controls, upload=stolen)),
            client.call("inspect", ["", stolen]),
        ):
            assert answer[0] == "error" and not LEAKS.search(json.dumps(answer[1])), (path, answer)
    assert {client.file(path).status_code for path in own} == {403}


NOWHERE = ("../../etc", "nonsense", "../examples", "/etc", "mini/../mini")
LINKS = ("file:///etc/passwd", "http://127.0.0.1:7860/a/b", "https://example.org/a/b")
OTHERS = ("/etc/passwd", "../../a", "a" * 10**6)


@pytest.mark.parametrize("name", [*(f"shipped:{n}" for n in NOWHERE), *LINKS, *OTHERS], ids=lambda n: n[:30])
def test_a_name_that_is_no_model_is_one_sentence(server, client, picture, controls, name):
    said = [
        refusal(client.call("inspect", [name, None]), server),
        refusal(client.call("authenticate", api_arguments(picture, name, controls)), server),
        refusal(client.call("authenticate", api_arguments(picture, name)), server),
        refusal(client.call("authenticate", api_arguments(picture, GERALD, controls, base=name)), server),
    ]
    assert all("xpected" in words for words in said)


@pytest.mark.parametrize(
    ("other", "code", "params"),
    [
        ({"seed": -1}, "page.seed", {"given": "-1"}),
        ({"seed": 2**31}, "page.seed", {"largest": 2**31 - 1}),
        ({"seed": 10**400}, "page.seed", {}),
        ({"seed": float("nan")}, "page.seed", {"given": "nan"}),
        ({"seed": 0.5}, "page.seed", {"given": "0.5"}),
        ({"seed": None}, "page.seed", {"given": "None"}),
        ({"steps": 10**9}, "page.steps", {"given": "1000000000"}),
        ({"steps": -1}, "page.steps", {"given": "-1"}),
        ({"steps": 1.5}, "page.steps", {"given": "1.5"}),
        ({"steps": float("inf")}, "page.steps", {"given": "inf"}),
        ({"prompt": "x" * 10**6}, "page.prompt_too_long", {"given": 10**6, "most": 500}),
        ({"lineup": 1}, "page.lineup", {"given": "1"}),
        ({"lineup": float("nan")}, "page.lineup", {"given": "nan"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_setting_out_of_range_is_one_sentence(server, client, picture, controls, other, code, params):
    said = refusal(client.call("authenticate", api_arguments(picture, GERALD, controls, **other)), server)
    assert sentence(code, **params).fullmatch(said)


@pytest.mark.parametrize("preset", ["reference", "nonsense"])
def test_a_preset_that_the_page_does_not_offer_is_refused_with_those_that_it_does(server, client, picture, preset):
    said = refusal(client.call("authenticate", api_arguments(picture, GERALD, preset=preset)), server)
    assert preset in said and all(name in said for name in PRESET_NAMES)


@pytest.fixture(scope="module")
def run(server, client, picture, controls):
    """A finished run of somebody else's: the addresses of its results."""
    kind, (record, images, evidence) = client.call("authenticate", api_arguments(picture, GERALD, controls))
    assert kind == "complete" and record["stopped"] is None
    return [file["path"] for file in (*images, evidence)]


def test_results_are_served_under_names_that_cannot_be_guessed_or_listed(server, client, run):
    shown = server.folder / "cgidm-visits" / "shown"
    for path in run:
        assert client.file(path).status_code == 200
        assert re.fullmatch(r"[0-9a-f]{32}/[0-9a-z-]+\.(png|zip)", str(Path(path).relative_to(shown)))
    for folder in (shown, shown.parent, Path(run[0]).parent):
        for path in (str(folder), f"{folder}/", f"{folder}/*", f"{folder}/."):
            answer = client.file(path)
            assert answer.status_code >= 400 and "original" not in answer.text
            assert Path(run[0]).parent.name in folder.parts or Path(run[0]).parent.name not in answer.text


def test_what_was_sent_is_never_served_even_to_whoever_knows_its_path(server, client, run, controls):
    private = server.folder / "cgidm-visits" / "private"
    name, shown = Path(run[0]).parent.name, private.parent / "shown"
    kept = [p for folder in private.glob(f"*/{name}") for p in folder.parent.rglob("*") if p.is_file()]
    assert {"request.json", "used"} <= {p.name for p in kept} and {"000", "001"} <= {p.parent.name for p in kept}
    for path in kept:
        rest = path.relative_to(private)
        for way in (path, f"{shown}/../private/{rest}", f"{shown}/{name}/../../private/{rest}", f"//{path}"):
            for spelt in (str(way), str(way).replace("..", "%2e%2e"), str(way).replace("/", "%2f")):
                for place in ("gradio_api/file=", "gradio_api/file/", "file=", "static/"):
                    answer = raw_get(server, place + spelt)
                    assert answer.split()[1] in (b"403", b"404", b"400"), (place + spelt, answer[:200])
        stolen = {"path": str(path), "meta": FILE}
        assert client.call("authenticate", api_arguments(stolen, GERALD, controls))[0] == "error"


def raw_get(server, address):
    """What the server says to a path that no library has tidied up."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(f"GET /{address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(100_000), b""))


def test_nobody_watches_and_the_page_keeps_no_history(client):
    for address in ("monitoring", "monitoring/summary", "monitoring/x"):
        assert client.http.get(address).status_code == 403
    assert client.http.get("gradio_api/run-history/records").status_code == 404


def test_the_description_for_programs_lists_the_endpoints(client):
    found = client.http.get("gradio_api/info").json()
    assert set(found["named_endpoints"]) == {"/inspect", "/authenticate", "/portfolio", "/verify", "/lineup"}
    assert not found["unnamed_endpoints"]
    for endpoint in found["named_endpoints"].values():
        assert len(endpoint["description"]) > 40
        for part in (*endpoint["parameters"], *endpoint["returns"]):
            assert part["label"] and part["python_type"]["type"] not in ("", "Any"), part


def test_a_program_inspects_a_model_with_gradio_s_own_client(server):
    found = Client(server.url, verbose=False).predict(f"shipped:{GERALD}", None, api_name="/inspect")
    assert found["kind"] == "training checkpoint" and len(found["sha256"]) == 3
