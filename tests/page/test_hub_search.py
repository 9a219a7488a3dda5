"""A search of the Hub from the page: what is found, whose token goes along, and what strangers put there."""

import re

import pytest
from huggingface_hub import close_session
from PIL import Image

from cgidm.framing.frame import CentreSquare
from cgidm.page.handlers import suspect as handler
from cgidm.page.handlers.suspect import Suspected, look_up
from cgidm.page.html.i18n import translate
from cgidm.page.html.model_card import found_models_html
from cgidm.page.runs import hub_search
from cgidm.page.runs.hub_search import search_models
from cgidm.page.runs.thumbnails import draw_frames, frame_box, model_thumbnail
from tests.support.errors import refuses
from tests.support.hub_models import PICTURES, hostile_repositories, lora_repository, picture
from tests.support.hub_server import Repository, serve
from tests.support.page_records import Reader
from tests.support.paths import EXAMPLES, SUSPECTS

LORA = EXAMPLES / SUSPECTS[1] / "checkpoint" / "pytorch_lora_weights.safetensors"


@pytest.fixture
def hub(monkeypatch):
    """A stand-in with models; the operator's token must not reach it."""
    monkeypatch.setenv("HF_TOKEN", "hf_operators")
    elsewhere = "http://127.0.0.1:9/a.png"
    repositories = {"anna/ink-style": lora_repository(LORA), **hostile_repositories(elsewhere)}
    repositories["bert/oil"] = Repository({}, {"instance_prompt": "anna style"}, downloads=50, **PICTURES)
    repositories["anna/other"] = Repository({}, {}, ["dreambooth", "diffusers"], pipeline_tag="text-to-image")
    with serve(repositories) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        close_session()
        hub_search._REMEMBERED.__init__()
        yield server
    close_session()


def test_a_base_that_the_card_names_is_told_as_the_card_s(hub):
    view = look_up("anna/ink-style", None, None, "en", None)
    said = Reader(view["card"]).text
    assert view["base"] == "owner/base" and translate("en", "card.base.stated", base="owner/base") in said
    assert translate("en", "card.base.unknown") not in said


def test_models_are_found_by_name_author_and_trigger_words(hub):
    found = search_models("ink")
    assert [m.repo for m in found] == ["anna/ink-style"]
    model = found[0]
    told = (model.kind, model.base, model.trigger, model.downloads, model.licence, model.changed, model.picture)
    assert told == ("LoRA", "owner/base", "sks style", 1234, "mit", "2026-05-04", "images/one.png")
    assert [m.repo for m in search_models("anna")] == ["anna/ink-style", "anna/other", "bert/oil"]
    assert [m.repo for m in search_models("anna", base="owner/base")] == ["anna/ink-style", "bert/oil"]
    assert [m.kind for m in search_models("other")] == ["DreamBooth"]
    assert search_models("evil/style-words".split("/")[1]) == [] == search_models("nothing like it")


def test_the_operator_s_token_goes_along_with_no_search_and_no_thumbnail(hub):
    for model in search_models("style"):
        model_thumbnail(model)
    look_up("anna/ink-style", None, None, "en", None)
    assert len(hub.seen) > 6 and {token for *_, token in hub.seen} == {None}
    search_models("style", token="hf_visitors")
    assert {token for *_, token in hub.seen} == {None, "Bearer hf_visitors"}


def test_what_anonymous_visitors_ask_again_is_not_asked_again(hub):
    search_models("ink")
    before = len(hub.seen)
    assert search_models("ink") and len(hub.seen) == before
    search_models("ink", token="hf_visitors")
    assert len(hub.seen) > before


def test_a_thumbnail_is_written_anew_or_left_out(hub):
    pictures = {m.repo: model_thumbnail(m) for m in search_models("style")}
    safe = pictures.pop("anna/ink-style")
    assert safe is not None and re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/=]{100,20000}", safe)
    assert set(pictures) >= {f"evil/style-{what}" for what in ("svg", "large", "redirect", "bomb", "address")}
    assert set(pictures.values()) == {None}


def test_a_redirect_within_the_hub_is_followed_and_no_circle(hub):
    repositories = hub.repositories
    repositories["anna/moved"] = Repository({"b.png": picture()}, {}, **PICTURES)
    for target, works in ((f"{hub.url}/anna/ink-style/resolve/main/images/one.png", True), ("b.png", False)):
        repositories["anna/moved"].redirects = {"b.png": target}
        hub_search._REMEMBERED.__init__()
        (model,) = search_models("moved")
        assert (model_thumbnail(model) is not None) == works


def test_nothing_of_a_found_model_gets_out_of_its_place(hub):
    found = search_models("style")
    html = found_models_html(found, [model_thumbnail(m) for m in found], "en")
    reader = Reader(html)
    names = [a["data-model"] for tag, a in reader.elements if tag == "button"]
    assert names == [m.repo for m in found] and "alert(1)" in reader.text  # as text
    assert [a["src"][:16] for tag, a in reader.elements if tag == "img"] == ["data:image/jpeg;"]


def test_words_are_searched_for_and_names_are_checked(hub):
    for query in ("ink style", "anna", "  ink  "):
        assert Suspected(query, ()).is_query
    for name in ("anna/ink-style", "https://civitai.com/models/5", "shipped:mini", "a.ckpt", "C:\\x", "urn:air:x"):
        assert not Suspected(name, ()).is_query
    view = look_up("ink", None, "", "en", None)
    assert "anna/ink-style" in view["found"] and view["card"] == ""
    view = look_up("anna/ink-style", None, "", "en", None)
    assert view["found"] == "" and "anna/ink-style" in view["card"] and view["prompt"] == "sks style"
    assert look_up("", None, "", "en", None) == {"card": "", "found": "", "framing": None}
    assert look_up("in", None, "", "en", None)["found"] == ""


def test_a_hub_that_does_not_answer_is_one_sentence(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    close_session()
    with refuses("page.search_unreachable"):
        search_models("ink")
    assert "Der Hub antwortet nicht" in look_up("ink", None, "", "de", None)["card"]
    close_session()


def test_a_file_is_checked_with_its_adapter_config_beside_it(tmp_path, monkeypatch):
    """peft's file states the alpha; each upload lies in a folder of its own."""
    seen = []
    monkeypatch.setattr(handler, "open_suspect", lambda name, upload, token: seen.append(upload) or 1 / 0)
    weights, config = tmp_path / "a" / "lora.safetensors", tmp_path / "b" / "adapter_config.json"
    for file in (weights, config):
        file.parent.mkdir()
        file.write_bytes(b"{}")
    with pytest.raises(ZeroDivisionError):
        look_up("", [str(config), str(weights)], None, "en", None)
    assert seen[0].endswith("/lora.safetensors") and not seen[0].startswith(str(tmp_path / "a"))
    assert "cg-error" in look_up("", [str(config)], None, "en", None)["card"]


@pytest.mark.parametrize("size", [(200, 300), (300, 200), (500, 33), (64, 64)])
def test_the_frame_on_a_thumbnail_lies_where_the_network_looks(size):
    frame = CentreSquare(resolution=128).frame(*size)
    small = Image.new("RGB", size, "white")
    small.thumbnail((160, 160))
    left, top, right, bottom = frame_box(frame, small.size)
    short = min(small.size)
    assert abs(right - left + 1 - short) <= 2 and abs(bottom - top + 1 - short) <= 2
    assert 0 <= left <= right < small.width and 0 <= top <= bottom < small.height
    assert abs(left - (small.width - 1 - right)) <= 2 and abs(top - (small.height - 1 - bottom)) <= 2
    assert draw_frames(small, [frame]).startswith("data:image/jpeg;base64,")
