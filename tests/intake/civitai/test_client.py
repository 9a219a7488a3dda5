"""What Civitai refuses or gets wrong, each in one sentence; and nothing is read from a host that is not on the list."""

import json
import time

import pytest

from cgidm.cli import main
from cgidm.intake.civitai import client
from cgidm.intake.layout import open_checkpoint
from tests.support.civitai_server import OTHER_STORAGE, SITE, STORAGE, File, Reply, Version
from tests.support.errors import refuses

LINK = "https://civitai.com/models/5?modelVersionId=6"
ABOUT = "/api/v1/model-versions/6"
HTML = {"Content-Type": "text/html; charset=utf-8"}
LATER, LONG_AGO = "2999-01-01T00:00:00.000Z", "2001-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("version", "file", "code"),
    [
        ({"usageControl": "Generation"}, {}, "no_download"),
        ({"model": {"mode": "Archived"}}, {}, "no_download"),
        ({"model": {"mode": "TakenDown"}}, {}, "no_download"),
        ({"modelId": 8}, {}, "other_model"),
        ({}, {"key": "theirs"}, "gated"),
        ({}, {"login": True}, "gated"),
        ({}, {"status": 403}, "gated"),
        ({"earlyAccessEndsAt": LONG_AGO}, {"status": 403}, "gated"),
        ({"earlyAccessEndsAt": LATER}, {"status": 403}, "early_access"),
        ({"earlyAccessEndsAt": LATER}, {"key": "theirs"}, "early_access"),
        ({"availability": "EarlyAccess"}, {"status": 403}, "early_access"),
        ({}, {"status": 404}, "no_download"),
        ({}, {"status": 410}, "no_download"),
        ({}, {"status": 429}, "rate_limit"),
        ({}, {"status": 451}, "status"),
        ({}, {"status": 500}, "status"),
        ({}, {"kind_of_answer": "text/html"}, "web_page"),
        ({}, {"kind_of_answer": "application/json"}, "web_page"),
    ],
)
def test_what_civitai_does_not_grant_is_one_line(civitai, lora, version, file, code):
    with civitai(Version(5, 6, [File(7, lora, **file)], version)):
        with refuses(f"intake.civitai_{code}") as error:
            open_checkpoint(LINK, "suspect")
    assert str(error.value).startswith("suspect: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(404, b'{"error":"Model not found"}'), "not_found"),
        (Reply(200, b'{"error":"Model not found"}'), "not_found"),
        (Reply(429, b"", {"Retry-After": "30"}), "rate_limit"),
        (Reply(500), "status"),
        (Reply(403, b"<html>Just a moment...</html>", HTML), "web_page"),
        (Reply(200, b"<html>Just a moment...</html>", HTML), "web_page"),
        (Reply(401, b'{"error":"Unauthorized"}'), "gated"),
        (Reply(200, b"not json"), "unexpected"),
        (Reply(200, b"[" * 100_000), "unexpected"),
        (Reply(200, b"[]"), "unexpected"),
        (Reply(200, b"null"), "unexpected"),
        (Reply(200, b'{"id": 6}'), "unexpected"),
        (Reply(200, b'{"id": "6", "modelId": 5, "files": []}'), "unexpected"),
        (Reply(200, b'{"id": 7, "modelId": 5, "files": []}'), "unexpected"),
        (Reply(200, b'{"id": 6, "modelId": true, "files": []}'), "unexpected"),
        (Reply(200, b'{"id": 6, "modelId": 5, "files": [{"id": NaN, "name": "a.safetensors"}]}'), "unexpected"),
        (Reply(200, b'{"id": 6, "modelId": 5, "files": [{"id": 7, "hashes": [1], "metadata": 2}]}'), "no_safetensors"),
        (Reply(200, b'{"id": 6, "modelId": 5, "files": {"a": 1}}'), "no_download"),
        (Reply(200, b" " * 100), "unexpected"),
        (Reply(302), "status"),
        (Reply(302, b"", {"Location": ABOUT}), "status"),
    ],
)
def test_answers_that_are_none(civitai, reply, code):
    with civitai(replies={ABOUT: reply}) as server, refuses(f"intake.civitai_{code}") as error:
        open_checkpoint(LINK)
    assert "\n" not in str(error.value) and len(server.seen) <= 2 * (client.MAX_REDIRECTS + 1)
    if code == "rate_limit":
        assert error.value.params["seconds"] == 30


def test_a_description_without_end_is_not_read_to_the_end(civitai, monkeypatch):
    monkeypatch.setattr(client, "MAX_ANSWER", 1000)
    with civitai(replies={ABOUT: Reply(200, b'{"id": 6, "name": "' + b"x" * 2000 + b'"}')}):
        with refuses("intake.civitai_unexpected"):
            open_checkpoint(LINK)


@pytest.mark.parametrize("given", ["civitai.com/models/4", "civitai:4@3", "https://civitai.red/models/4"])
def test_what_is_not_there_is_looked_for_under_every_name_and_then_refused(civitai, given):
    with civitai() as server, refuses("intake.civitai_not_found"):
        open_checkpoint(given)
    assert [host for host, *_ in server.seen] == (["civitai.red"] if "red" in given else ["civitai.com", "civitai.red"])


def test_a_model_without_a_published_version(civitai):
    with civitai(Version(5, 6, fields={"status": "Draft"})), refuses("intake.civitai_no_version", name="civitai:5"):
        open_checkpoint("civitai.com/models/5")


def test_a_description_may_have_moved_within_the_site(civitai, lora):
    moved = Reply(308, b"", {"Location": f"https://civitai.red{ABOUT}?moved=1"})
    version = Version(5, 6, [File(7, lora)])
    answer = Reply(200, json.dumps(version.describe()).encode(), {"Content-Type": "application/json"})
    link = "https://www.civitai.com/models/5?modelVersionId=6"
    with civitai(version, replies={"/api/v1/model-versions/6": moved}) as server:
        server.replies[ABOUT] = moved
        with refuses("intake.civitai_status"):  # it leads to itself again and again
            open_checkpoint(link)
        server.replies = {ABOUT: Reply(301, b"", {"Location": "/api/v1/model-versions/6/"}), f"{ABOUT}/": answer}
        assert open_checkpoint(link).listing.name == "civitai:5@6+7"


OTHERS = [
    "https://evil.example/lora.safetensors",
    "https://civitai.com.evil.example/7",
    "https://evilcivitai.com/7",
    "https://x.r2.cloudflarestorage.com/7",
    "https://a.b.5ac0637cfd0766c97916cefa3764fbdf.r2.cloudflarestorage.com/7",
    f"https://{OTHER_STORAGE}.evil.example/7",
    f"https://{STORAGE}@evil.example/7",
    f"https://me@{STORAGE}/7",
    f"https://{STORAGE}:8443/7",
    f"https://{STORAGE}:x/7",
    "https://[::1/7",
    f"http://{STORAGE}/7",
    "http://169.254.169.254/latest/meta-data/",
    "https://127.0.0.1/7",
    "https://[::1]/7",
    "https://10.0.0.1/7",
    "https://localhost/7",
    "https://2130706433/7",
    "//evil.example/7",
    "file:///etc/passwd",
    "ftp://b2.civitai.com/7",
]


@pytest.mark.parametrize("location", OTHERS)
def test_a_redirect_to_another_host_or_a_private_address_is_not_followed(civitai, lora, location):
    with civitai(Version(5, 6, [File(7, lora, location=location)])) as server:
        with refuses("intake.civitai_other_host") as error:
            open_checkpoint(LINK, civitai_key="s3cr3t")
        assert {host for host, *_ in server.seen} <= set(SITE) and "s3cr3t" not in str(error.value)
        server.seen.clear()
        server.replies[ABOUT] = Reply(302, b"", {"Location": location})
        with refuses("intake.civitai_other_host"):
            open_checkpoint(LINK, civitai_key="s3cr3t")
        assert {host for host, *_ in server.seen} <= set(SITE)


def test_a_description_is_not_read_from_the_storage(civitai):
    with civitai(replies={ABOUT: Reply(302, b"", {"Location": f"https://{STORAGE}/x.json"})}) as server:
        with refuses("intake.civitai_other_host", host=STORAGE):
            open_checkpoint(LINK)
    assert [host for host, *_ in server.seen] == ["civitai.com"]


def test_what_the_storage_refuses_is_no_matter_of_keys(civitai, lora):
    with civitai(Version(5, 6, [File(7, lora)]), replies={"/file/7": Reply(403)}):
        with refuses("intake.civitai_status", status=403):
            open_checkpoint(LINK, civitai_key="mine")


def test_a_key_opens_what_it_may_and_only_one_that_is_handed_over_is_used(civitai, lora, monkeypatch):
    monkeypatch.setenv(client.KEY_VARIABLE, "operators")
    with civitai(Version(5, 6, [File(7, lora, key="mine")])) as server:
        with refuses("intake.civitai_gated"):
            open_checkpoint(LINK)
        assert {key for *_, key in server.seen} == {None}
        with refuses("intake.civitai_forbidden"):
            open_checkpoint(LINK, civitai_key="wrong")
        opened = open_checkpoint(LINK, civitai_key="mine")
        assert opened.fetch().read_bytes() == lora and "mine" not in repr(opened)


def test_the_command_line_reads_the_key_of_its_user(civitai, lora, monkeypatch, capsys):
    with civitai(Version(5, 6, [File(7, lora, key="mine")])):
        assert main(["inspect", LINK]) == 2
        assert "CIVITAI_API_TOKEN" in capsys.readouterr().err
        monkeypatch.setenv(client.KEY_VARIABLE, "mine")
        assert main(["inspect", LINK]) == 0
        monkeypatch.setenv(client.KEY_VARIABLE, "mi\nne")
        assert main(["inspect", LINK]) == 2
    said = capsys.readouterr()
    assert "mine" not in said.out and "mi" not in said.err.replace("civitai", "").split("holds")[1].split("key")[0]


def test_a_site_that_does_not_answer_is_said_at_once(civitai, lora, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", 0.2)
    start = time.monotonic()
    with civitai(Version(5, 6, [File(7, lora)]), replies={ABOUT: Reply(seconds=1.0)}) as server:
        with refuses("intake.civitai_unreachable"):
            open_checkpoint(LINK)
        server.replies = {"/file/7": Reply(seconds=1.0)}
        with refuses("intake.civitai_unreachable"):
            open_checkpoint(LINK)
    with refuses("intake.civitai_unreachable"):  # the stand-in is gone
        open_checkpoint(LINK)
    assert time.monotonic() - start < 5


def test_an_answer_that_drips_is_not_waited_for(civitai, monkeypatch):
    monkeypatch.setattr(client, "MAX_SECONDS", 0.3)
    start = time.monotonic()
    with civitai(replies={ABOUT: Reply(200, b" " * 40, drip=0.05)}), refuses("intake.civitai_unreachable"):
        open_checkpoint(LINK)
    assert 0.3 < time.monotonic() - start < 1.5


def test_hostile_names_are_harmless(civitai, lora):
    hostile = "\x1b[31m<script>alert(1)</script>\n../../../etc/passwd"
    name = "../../\x1b[2J<b>~/.ssh\\..\\evil\x00 $(rm).safetensors"
    fields = {"name": hostile, "baseModel": hostile, "air": hostile, "trainedWords": [hostile, 5, None, "ok"]}
    fields |= {"publishedAt": hostile, "model": {"name": hostile}}
    with civitai(Version(5, 6, [File(7, lora, name)], fields)):
        opened = open_checkpoint(LINK)
        path = opened.fetch()
    told = opened.listing.about.publication
    assert path.parent.parent.name == "civitai" and path.name == "evil_ _(rm).safetensors"
    assert told.air == "urn:air:civitai:5@6+7" and told.trained_words[-1] == "ok"
    assert told.published is None
    texts = [told.model_name, told.version_name, told.base_model, *told.trained_words, opened.name]
    assert all(text.isprintable() and len(text) <= 200 for text in texts)


@pytest.mark.parametrize(
    "name", ["", "..", "...safetensors", ".safetensors", "a/", 5, None, "x" * 5000 + ".safetensors"]
)
def test_a_name_is_always_one_of_a_file(civitai, lora, name):
    file = File(7, lora, name)
    with civitai(Version(5, 6, [file])):
        try:
            root = open_checkpoint(f"{LINK}&fileId=7").root
        except ValueError as error:
            assert error.code == "intake.civitai_no_safetensors"
        else:
            assert 12 < len(root) <= 121 and root.endswith(".safetensors") and "/" not in root
