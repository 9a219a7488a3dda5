"""A visitor's own key for Civitai: for one visit, for one host, and nowhere to be found afterwards."""

import logging
import pickle
from contextlib import closing
from dataclasses import fields

import pytest

from cgidm.intake.civitai.client import KEY_VARIABLE
from cgidm.page.handlers import runs as handlers
from cgidm.page.handlers.form import SETTINGS, form_view
from cgidm.page.handlers.request import Request
from cgidm.page.handlers.suspect import look_up
from cgidm.page.handlers.visitor import visitor_key, wants_key
from cgidm.page.html.i18n import LANGUAGES, translate
from cgidm.page.html.views import history_choices
from cgidm.page.runs import download_cache, store
from cgidm.page.runs.model_cache import models_record, open_suspect
from cgidm.page.runs.runner import open_run_models
from cgidm.page.runs.settings import RunSettings
from cgidm.page.runs.store import Visit
from cgidm.page.ui import layout
from cgidm.resources import SHIPPED_BASE, find_example
from tests.support import page_runs
from tests.support.civitai_server import OTHER_STORAGE, SITE, STORAGE, File, Version, in_place_of_civitai
from tests.support.errors import refuses
from tests.support.hub_server import Repository
from tests.support.hub_server import serve as serve_hub
from tests.support.page_records import Reader

LINK = "https://civitai.com/models/5?modelVersionId=6"
KEY, OPERATORS = "visitors-own-secret-key-123", "operators-secret-key-456"


@pytest.fixture
def lora():
    return find_example("rollandin-lora").checkpoint.joinpath("pytorch_lora_weights.safetensors").read_bytes()


@pytest.fixture
def gated(tmp_path, monkeypatch, lora):
    """Civitai with a file for accounts alone; the operator has a key, too."""
    monkeypatch.setattr(download_cache.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(store, "ROOT", tmp_path / "visits")
    monkeypatch.setenv(KEY_VARIABLE, OPERATORS)
    with in_place_of_civitai(monkeypatch, Version(5, 6, [File(7, lora, key=KEY)])) as server:
        yield server


def asked_with(server, host_is_site):
    return {key for host, _, _, key in server.seen if (host in SITE) == host_is_site}


def run_of(visit, suspect=LINK):
    return page_runs.request(suspect=suspect, base=SHIPPED_BASE).begin(visit)


def fetched(visit, run, key):
    with closing(handlers.fetch(visit.token, run.name, "en", None, key)) as views:
        return list(views)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_field_appears_where_civitai_asks_for_an_account_and_the_refusal_names_it(gated, language):
    view = look_up(LINK, None, None, language, None)
    assert view["key_part"]["visible"] and view["key_part"]["open"]
    said = Reader(view["card"]).text
    assert translate(language, "key.offer") in said and translate(language, "key.title") in said
    assert asked_with(gated, True) == {None} and OPERATORS not in str(gated.seen)


def test_nobody_else_is_shown_the_field(gated, lora):
    assert "key_part" not in look_up(f"shipped:{'rollandin-lora'}", None, None, "en", None)
    assert "key_part" not in look_up("https://civitai.com/models/9?modelVersionId=9", None, None, "en", None)


def test_with_the_key_the_model_is_checked_and_the_storage_never_sees_it(gated):
    view = look_up(LINK, None, None, "en", None, civitai_key=f" {KEY}\n")
    assert "civitai:5@6+7" in view["card"] and "key_part" not in view and KEY not in str(view)
    assert asked_with(gated, True) == {f"Bearer {KEY}"}
    assert {host for host, *_ in gated.seen} == {"civitai.com", STORAGE} and asked_with(gated, False) == {None}


@pytest.mark.parametrize("host", ["evil.example", "civitai.com.evil.example", "127.0.0.1", OTHER_STORAGE])
def test_a_redirect_to_another_host_gets_no_key(gated, monkeypatch, lora, host):
    leading = File(7, lora, key=KEY, location=f"https://{host}/file/7")
    with in_place_of_civitai(monkeypatch, Version(5, 6, [leading])) as server:
        view = look_up(LINK, None, None, "en", None, civitai_key=KEY)
    assert all(key is None for host, _, _, key in server.seen if host not in SITE)
    if host != OTHER_STORAGE:
        assert {host for host, *_ in server.seen} <= set(SITE) and KEY not in view["card"]


def test_a_model_of_the_hub_is_asked_for_without_the_key(gated, monkeypatch, tmp_path, lora):
    with serve_hub({"anna/lora": Repository({"pytorch_lora_weights.safetensors": lora})}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        look_up("anna/lora", None, None, "en", None, civitai_key=KEY)
        assert hub.seen and KEY not in str(hub.seen)
    assert not gated.seen


@pytest.mark.parametrize("given", ["a b", "a\nX-Injected: 1", "ключ", "a\x00b", "x" * 501])
def test_what_can_be_no_key_is_refused_unquoted_before_anybody_is_asked(gated, given):
    with refuses("page.civitai_key") as refused:
        visitor_key(given)
    assert given not in str(refused.value)
    view = look_up(LINK, None, None, "en", None, civitai_key=given)
    assert 'role="alert"' in view["card"] and view["key_part"]["visible"] and given not in str(view)
    assert not gated.seen
    assert visitor_key("") is None and visitor_key(None) is None and visitor_key(f" {KEY} ") == KEY


def test_a_key_that_may_not_is_refused_without_being_repeated(gated):
    wrong = "another-secret-key-789"
    view = look_up(LINK, None, None, "en", None, civitai_key=wrong)
    assert view["key_part"]["visible"] and wrong not in str(view)
    visit = Visit()
    (told,) = fetched(visit, run_of(visit), wrong)
    assert told["pending"] == "" and told["key_part"]["visible"] and wrong not in str(told)


def test_a_run_fetches_with_the_key_and_goes_on_without_it(gated, capfd, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    visit = Visit()
    run = run_of(visit)
    (refused,) = fetched(visit, run, None)
    assert refused["pending"] == "" and refused["key_part"]["visible"]
    views = fetched(visit, run, KEY)
    assert "pending" not in views[-1] and KEY not in str(views)
    gated.seen.clear()
    models, _ = open_run_models(run)
    download_cache.fetch_models(models)
    assert {key for *_, key in gated.seen} == {None}, "what follows has no key, and needs none"
    assert models.suspect.fetch().is_file() and KEY not in repr(models) and KEY.encode() not in pickle.dumps(models)
    assert KEY not in repr(models_record(models))
    form, choices = form_view(run), history_choices(visit, "en")
    assert KEY not in str((form, choices, run.settings))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not [path for path in written if KEY.encode() in path.read_bytes()]
    told = capfd.readouterr()
    assert KEY not in told.out + told.err + caplog.text and OPERATORS not in told.out + told.err + caplog.text


def test_a_checkpoint_that_was_opened_with_a_key_does_not_show_it(gated):
    checkpoint = open_suspect(LINK, None, None, KEY)
    assert KEY not in repr(checkpoint) and KEY not in str(checkpoint.listing) and KEY not in checkpoint.name


def test_the_key_is_no_part_of_a_request_a_run_or_a_link():
    names = {f.name for kind in (Request, RunSettings) for f in fields(kind)} | set(SETTINGS) | set(layout.SHARED)
    assert not [name for name in names if "key" in name]
    filled, _ = layout._settings_of({"civitai_key": KEY, "suspect": "a/b"})
    assert filled == {"suspect": "a/b"}


def test_only_the_check_and_the_download_are_given_the_key():
    page, _ = layout.build_page()
    config = page.get_config_file()
    (key,) = (c for c in config["components"] if c["props"].get("elem_id") == "civitai-key")
    assert key["props"]["type"] == "password" and not key["props"].get("value")
    assert key["props"]["html_attributes"]["autocomplete"] == "off"
    (part,) = (c for c in config["components"] if c["props"].get("elem_id") == "civitai-key-part")
    assert part["props"]["visible"] is False
    names = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
    given = [d for d in config["dependencies"] if key["id"] in d["inputs"]]
    assert given and all(d["api_visibility"] == "private" for d in given)
    for event in given:
        others = {names[i] for i in event["inputs"]} - {"civitai-key"}
        assert others <= {"suspect", "upload", "base", None}, "with nothing that a run is begun with"
    cleared = [d for d in config["dependencies"] if {names.get(t[0]) for t in d["targets"]} == {"forget-sure"}]
    assert any(key["id"] in d["outputs"] for d in cleared), "deleting the visit empties the field"
    assert not [e for e in config["dependencies"] if e["api_visibility"] != "private" and key["id"] in e["outputs"]]


def test_which_refusals_a_key_may_lift():
    from cgidm import UserError

    assert wants_key(UserError("intake.civitai_gated", name="x"))
    assert not wants_key(UserError("intake.civitai_not_found", name="x"))
