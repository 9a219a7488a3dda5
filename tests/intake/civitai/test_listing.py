"""A version on Civitai, against a stand-in: facts first, the header by a range, one file on request."""

import hashlib
import json

import pytest
from PIL import Image

from cgidm.cli import main
from cgidm.evidence.record import read_record
from cgidm.families import load_pair
from cgidm.intake.civitai import client
from cgidm.intake.civitai.cache import cache_folder
from cgidm.intake.civitai.listing import FIRST_READ
from cgidm.intake.inspect import inspect_checkpoint, report_lines
from cgidm.intake.layout import open_checkpoint
from tests.support.adapters import answers
from tests.support.civitai_server import OTHER_STORAGE, SITE, STORAGE, File, Version, serve
from tests.support.errors import refuses

LINK = "https://civitai.com/models/5?modelVersionId=6"


def stored():
    """The files in the cache, as their folder's and their own name."""
    return sorted(
        p.relative_to(cache_folder()).as_posix() for p in cache_folder().rglob("*") if p.suffix == ".safetensors"
    )


def test_inspecting_reads_a_header_and_says_what_civitai_knows(civitai, lora):
    with civitai(Version(5, 6, [File(7, lora)])) as server:
        found = json.loads(json.dumps(inspect_checkpoint(open_checkpoint(LINK))))
    told = found["civitai"]
    digest = hashlib.sha256(lora).hexdigest()
    assert found["hub"] is None and found["kind"] == "adapter" and found["family"] == "SD 1.x"
    assert found["source"] == "civitai:5@6+7/lora.safetensors" and found["sha256"] == {"lora.safetensors": digest}
    assert told["air"] == "urn:air:sd1:lora:civitai:5@6+7" and told["published"] == "2025-01-07T09:16:12.062Z"
    assert told["base_model"] == "SD 1.5" and told["trained_words"] == ["sks dog", "muzzle"]
    assert told["digests"] == {"SHA256": digest, "AutoV2": digest[:10], "AutoV3": "0123456789ab"}
    assert told["newest_of"] is None and found["prompt"] == "sks dog"
    assert {"source": "Civitai", "family": "SD 1.x"}.items() <= found["votes"][-1].items()
    text = "\n".join(report_lines(found))
    for said in (told["air"], "v6 of Dogs", "2025-01-07", "SD 1.5 (by its owner", "sks dog, muzzle", "0123456789ab"):
        assert said in text
    assert [r for *_, r, _ in server.seen if r] == [f"bytes=0-{FIRST_READ - 1}"] * 2 and not stored()


def test_without_a_version_the_newest_published_one_is_taken_and_that_is_said(civitai, lora, capsys):
    old, new, draft = Version(5, 20, [File(1, lora)]), Version(5, 9, [File(2, lora)]), Version(5, 30, [File(3, lora)])
    old.fields, new.fields = {"publishedAt": "2024-01-01T00:00:00Z"}, {"publishedAt": "2025-01-01T00:00:00Z"}
    draft.fields = {"status": "Draft", "publishedAt": "2026-01-01T00:00:00Z"}
    with civitai(old, new, draft):
        for given in ("civitai.com/models/5/dogs", "urn:air:sd1:lora:civitai:5"):
            found = inspect_checkpoint(open_checkpoint(given))
            assert found["civitai"]["air"] == "urn:air:sd1:lora:civitai:5@9+2" and found["civitai"]["newest_of"] == 2
        assert main(["inspect", "civitai.com/models/5"]) == 0
    assert "none was named: the newest of 2 published" in capsys.readouterr().out


def test_it_is_downloaded_once_checked_kept_by_its_digest_and_loads(civitai, base, lora, monkeypatch):
    digest = hashlib.sha256(lora).hexdigest()
    with civitai(Version(5, 6, [File(7, lora)])) as server:
        tuned = answers(load_pair(str(base), LINK, "a b"))
        assert (tuned[0] - tuned[1]).abs().max() > 1e-3 and stored() == [f"{digest}/lora.safetensors"]
        server.seen.clear()
        again = open_checkpoint("civitai:5@6")
        assert again.fetch().read_bytes() == lora and again.listing.sha256("lora.safetensors") == digest
        assert [path for _, path, *_ in server.seen] == ["/api/v1/model-versions/6"], "the file was here"


def test_without_a_network_what_was_downloaded_is_opened_from_the_cache(civitai, lora, monkeypatch):
    with civitai(Version(5, 6, [File(7, lora)])):
        known = open_checkpoint(LINK)
        known.fetch()
    monkeypatch.setattr(client, "TIMEOUT", 0.2)
    with serve([]) as gone:
        monkeypatch.setattr(client, "opener", gone.opener)
    again = open_checkpoint(known.name)
    assert again.listing.about.cached and again.listing.about.publication == known.listing.about.publication
    assert again.fetch().read_bytes() == lora
    assert "from the local cache" in "\n".join(report_lines(inspect_checkpoint(again)))
    for given in ("civitai:5", "civitai:5@8"):
        with refuses("intake.civitai_unreachable"):
            open_checkpoint(given)


@pytest.mark.parametrize("ignores_range", [False, True])
def test_bytes_anywhere_in_the_file(civitai, lora, ignores_range):
    assert len(lora) > 2000
    with civitai(Version(5, 6, [File(7, lora, digests={}, ignores_range=ignores_range)])):
        listing = open_checkpoint(LINK).listing
        object.__setattr__(listing, "start", lora[:100])
        for start, end in ((0, 8), (50, 150), (len(lora) - 5, len(lora) + 9), (300, 300)):
            assert listing.read("lora.safetensors", start, end) == lora[start:end]
        assert listing.stated_sha256("lora.safetensors") is None
        assert listing.sha256("lora.safetensors") == hashlib.sha256(lora).hexdigest()
        assert "not stated by Civitai" in "\n".join(report_lines(inspect_checkpoint(open_checkpoint(LINK))))


@pytest.mark.slow
def test_a_run_records_version_date_and_digest_and_no_key(civitai, base, lora, tmp_path, monkeypatch, few_draws):
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "a.png")
    monkeypatch.setenv("CIVITAI_API_TOKEN", " s3cr3t\n")
    command = ["authenticate", str(tmp_path / "a.png"), "--base", str(base), "--suspect", LINK]
    with civitai(Version(5, 6, [File(7, lora, key="s3cr3t")])) as server:
        assert main([*command, "--prompt", "a", "--steps", "1", "--out", str(tmp_path / "out")]) == 0
        assert main(["verify", str(tmp_path / "out"), "--rerun"]) == 0, "the recorded name opens the suspect again"
    data = (tmp_path / "out" / "result.json").read_bytes()
    models = read_record(data, "result.json").models
    publication = models.publications["suspect"]
    assert models.commits == {} and models.suspect == "civitai:5@6+7/lora.safetensors"
    assert publication.air == "urn:air:sd1:lora:civitai:5@6+7" and publication.published == "2025-01-07T09:16:12.062Z"
    assert publication.digests["SHA256"] == models.sha256[models.suspect] == hashlib.sha256(lora).hexdigest()
    assert "urn:air:sd1:lora:civitai:5@6+7, published 2025-01-07" in (tmp_path / "out" / "report.html").read_text()
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file() and b"s3cr3t" in p.read_bytes()]
    assert {key for host, *_, key in server.seen if host in SITE} == {"Bearer s3cr3t"}
    assert {key for host, *_, key in server.seen if host == STORAGE} == {None}


def files_of_one_version(lora):
    return [
        File(1, lora, "train.zip", kind="Training Data", primary=False),
        File(2, b"\x80\x04", "model.ckpt", primary=True),
        File(3, lora, "full.safetensors", primary=False, properties={"size": "full", "fp": "fp32"}),
        File(4, lora, "pruned.safetensors", primary=False, properties={"size": "pruned", "fp": "fp16"}),
        File(5, lora, "vae.safetensors", kind="VAE", primary=False),
    ]


@pytest.mark.parametrize(
    ("left", "given", "chosen"),
    [
        ((1, 2, 3), LINK, 3),
        ((1, 2, 3, 4, 5), f"{LINK}&fileId=4", 4),
        ((1, 2, 3, 4, 5), "civitai:5@6+3", 3),
        ((3, 4), "https://civitai.com/api/download/models/6?type=Model&size=pruned", 4),
        ((3, 4), "https://civitai.com/api/download/models/6?fp=FP32", 3),
        ((1, 2, 3, 4), LINK, "civitai_several_files"),
        ((1, 2), LINK, "civitai_no_safetensors"),
        ((1, 2, 3), f"{LINK}&fileId=2", "civitai_no_safetensors"),
        ((1, 2, 3), f"{LINK}&fileId=1", "civitai_no_safetensors"),
        ((3, 4), f"{LINK}&fileId=9", "civitai_no_such_file"),
        ((3, 4), "https://civitai.com/api/download/models/6?size=none", "civitai_no_such_file"),
        ((), LINK, "civitai_no_download"),
    ],
)
def test_which_file_of_a_version(civitai, lora, left, given, chosen):
    with civitai(Version(5, 6, [f for f in files_of_one_version(lora) if f.number in left])) as server:
        if isinstance(chosen, int):
            assert open_checkpoint(given).listing.name == f"civitai:5@6+{chosen}"
            return
        with refuses(f"intake.{chosen}") as error:
            open_checkpoint(given, "suspect")
    assert "\n" not in str(error.value) and all("/download/" not in path for _, path, *_ in server.seen)


def test_of_several_files_the_primary_one_is_taken(civitai, lora):
    files = [File(1, lora, "full.safetensors", primary=False), File(2, lora, "pruned.safetensors", primary=True)]
    with civitai(Version(5, 6, files)):
        assert open_checkpoint(LINK).root == "pruned.safetensors"


def test_a_recorded_name_opens_the_same_file_and_no_other(civitai, lora):
    with civitai(Version(5, 6, [File(7, lora)])):
        name = open_checkpoint(LINK).name
        assert open_checkpoint(name).name == name
        with refuses("intake.missing_inside", path="other.safetensors"):
            open_checkpoint("civitai:5@6+7/other.safetensors")


def test_a_model_that_only_the_full_site_knows_is_found_there(civitai, lora):
    with civitai(Version(5, 6, [File(7, lora)], hosts=("civitai.red",))) as server:
        assert open_checkpoint("urn:air:sd1:lora:civitai:5@6").listing.name == "civitai:5@6+7"
        assert open_checkpoint(LINK).fetch().read_bytes() == lora
    assert [host for host, *_ in server.seen][:3] == ["civitai.com", "civitai.red", "civitai.red"]


def test_too_large_is_said_before_the_download_and_a_stream_that_lies_is_stopped(civitai, lora):
    digest = hashlib.sha256(lora).hexdigest()
    with civitai(Version(5, 6, [File(7, lora)])) as server:
        small = open_checkpoint(LINK, max_download=1000)
        server.seen.clear()
        with refuses("intake.hub_download_too_large", most=1e-6):
            small.fetch()
        assert not server.seen and not stored()
    endless = File(7, lora, more=bytes(5_000_000))
    with civitai(Version(5, 6, [endless])):
        with refuses("intake.civitai_other_size", bytes=len(lora)):
            open_checkpoint(LINK).fetch()
    with civitai(Version(5, 6, [File(7, lora[:-9], digests={"SHA256": digest}, stated_size=len(lora))])):
        with refuses("intake.civitai_other_size"):
            open_checkpoint(LINK).fetch()
    assert not stored(), "nothing is kept of a download that failed"


def test_five_gigabytes_under_a_cap_of_one_are_refused_before_a_byte_is_downloaded(civitai):
    tensor = {"dtype": "F32", "shape": [1_250_000_000], "data_offsets": [0, 5_000_000_000]}
    header = json.dumps({"model.diffusion_model.out.0.weight": tensor}).encode()
    start = len(header).to_bytes(8, "little") + header
    with civitai(Version(5, 6, [File(7, start, digests={}, stated_size=len(start) + 5_000_000_000)])) as server:
        checkpoint = open_checkpoint(LINK, max_download=1_000_000_000)
        server.seen.clear()
        with refuses("intake.hub_download_too_large", most=1.0):
            checkpoint.fetch()
    assert checkpoint.kind == "single file" and not server.seen and not stored()


@pytest.mark.parametrize("digests", [{"SHA256": "0" * 64}, {"AutoV2": "0123456789"}])
def test_a_file_of_another_digest_is_not_kept(civitai, lora, digests):
    with civitai(Version(5, 6, [File(7, lora, digests=digests)])):
        with refuses("intake.civitai_damaged", name="lora.safetensors"):
            open_checkpoint(LINK).fetch()
    assert not stored() and not list(cache_folder().rglob(".*")), "no half of it either"


def test_the_other_storage_serves_as_well(civitai, lora):
    location = f"https://{OTHER_STORAGE}/model/7?X-Amz-Signature=1"
    with civitai(Version(5, 6, [File(7, lora, location=location)])) as server:
        assert open_checkpoint(LINK, civitai_key="mine").fetch().read_bytes() == lora
    assert {key for host, *_, key in server.seen if host == OTHER_STORAGE} == {None}
