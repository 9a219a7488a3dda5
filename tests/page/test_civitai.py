"""A link to Civitai in the page's field for the suspect: read, downloaded into a limited cache, with nobody's key."""

import hashlib
import json
import os
from functools import partial

import pytest

from cgidm.intake.civitai.cache import cache_folder
from cgidm.intake.civitai.client import KEY_VARIABLE
from cgidm.messages import english
from cgidm.page.handlers.suspect import inspect_suspect, look_up
from cgidm.page.html.i18n import LANGUAGES, translate
from cgidm.page.runs import download_cache
from cgidm.page.runs.model_cache import RequestedModels, models_record, open_models
from cgidm.resources import SHIPPED_BASE, find_example
from tests.support.civitai_server import File, Version, in_place_of_civitai
from tests.support.errors import refuses
from tests.support.page_html import answer_page
from tests.support.page_records import Reader, make_record, typed
from tests.support.paths import ROOT

LINK = "https://civitai.com/models/5?modelVersionId=6"
LANGUAGE_FILES = ROOT / "cgidm" / "messages"


@pytest.fixture
def lora():
    """The bytes of a suspect that ships."""
    return find_example("rollandin-lora").checkpoint.joinpath("pytorch_lora_weights.safetensors").read_bytes()


@pytest.fixture
def civitai(tmp_path, monkeypatch):
    monkeypatch.setattr(download_cache.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(KEY_VARIABLE, "operators")
    return partial(in_place_of_civitai, monkeypatch)


def test_a_link_is_described_and_downloaded_without_the_operator_s_key(civitai, lora):
    with civitai(Version(5, 6, [File(7, lora)])) as server:
        said = look_up(LINK, None, None, "en", None)["card"]
        assert "urn:air:sd1:lora:civitai:5@6+7" in said and inspect_suspect(LINK, None, None)["kind"] == "adapter"
        models = open_models(RequestedModels(SHIPPED_BASE, LINK, None, "sks style"))
        assert download_cache.bytes_needed(models) == len(lora)
        download_cache.fetch_models(models)
    record = models_record(models)
    assert record.commits == {} and record.publications["suspect"].air == "urn:air:sd1:lora:civitai:5@6+7"
    assert (cache_folder() / hashlib.sha256(lora).hexdigest()).is_dir()
    assert {key for *_, key in server.seen} == {None}


def test_what_needs_a_key_is_refused_in_the_visitor_s_language(civitai, lora):
    with civitai(Version(5, 6, [File(7, lora, key="operators")])):
        assert "angemeldete" in look_up(LINK, None, None, "de", None)["card"]


def test_downloads_of_civitai_count_and_go_like_those_of_the_hub(civitai, monkeypatch):
    for age, digest in enumerate(("0" * 64, "1" * 64, "2" * 64)):
        folder = cache_folder() / digest
        folder.mkdir(parents=True)
        (folder / "lora.safetensors").write_bytes(bytes(1000))
        os.utime(folder / "lora.safetensors", (1000 + age, 1000 + age))
    monkeypatch.setattr(download_cache, "MAX_KEPT", 3000)
    download_cache.make_room(1000)
    assert sorted(p.name[0] for p in cache_folder().iterdir()) == ["1", "2"]
    download_cache.make_room(2000, ["1" * 64])
    assert sorted(p.name[0] for p in cache_folder().iterdir()) == ["1", "2"], "one of the two is there already"
    download_cache.make_room(3000, ["1" * 64])
    assert sorted(p.name[0] for p in cache_folder().iterdir()) == ["1"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_version_is_among_the_details(language):
    known = make_record()
    title = translate(language, "details.suspect_civitai")
    assert title not in Reader(answer_page(typed(known), language)).text
    publication = {"air": "urn:air:sd1:lora:civitai:5@6+7", "model_name": "<b>", "version_name": "", "file": "a"}
    publication |= {"published": None, "base_model": None}
    known["models"]["publications"] = {"suspect": publication}
    text = Reader(answer_page(typed(known), language)).text
    assert title in text and publication["air"] in text


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_each_refusal_of_civitai_is_said_in_every_language(language):
    table = json.loads((LANGUAGE_FILES / language / "library.json").read_text(encoding="utf-8"))
    codes = {code for code in english() if code.startswith(("intake.civitai_", "intake.air_"))}
    assert codes - table.keys() == {"intake.civitai_bad_key"}, "of the command line alone"
    assert "prueba" not in " ".join(table[c] for c in codes & table.keys())


def test_a_link_with_a_key_is_refused_before_anything_is_requested(civitai):
    with civitai() as server, refuses("intake.civitai_key_in_link"):
        open_models(RequestedModels(SHIPPED_BASE, f"{LINK}&token=s3cr3t", None, ""))
    assert not server.seen
