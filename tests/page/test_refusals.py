"""What a visitor is refused is said in their own language: no sentence and no part of one stays English."""

import dataclasses
import json
import pickle
import re
import struct
from pathlib import Path

import gradio as gr
import pytest
import torch
from PIL import Image

from cgidm.messages import english
from cgidm.page.handlers import runs as judging
from cgidm.page.handlers.check import check_zip
from cgidm.page.handlers.pictures import look_at_pictures
from cgidm.page.handlers.suspect import look_up
from cgidm.page.html.i18n import LANGUAGES, message_tables
from cgidm.page.runs import store as visit
from cgidm.page.runs.store import Visit
from tests.support.adapter_files import save
from tests.support.adapter_refusals import REFUSALS
from tests.support.page_runs import request, write_bank

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_models")]

OTHERS = tuple(code for code in LANGUAGES if code != "en")
ENGLISH = '<span lang="en">'  # around a sentence that has no translation
WISHES = (
    {"pictures": ()},
    {"pictures": ["x.png"] * 31},
    {"controls": ["x.png"] * 101},
    {"prompt": "x" * 501},
    {"base": ""},
    {"base": "/etc/passwd"},
    {"suspect": " "},
    {"suspect": "/etc/passwd"},
    {"suspect": "a/b/model.ckpt"},
    {"suspect": "shipped:none"},
    {"suspect": "https://example.org/model"},
    {"suspect": "https://huggingface.co/datasets/a/b"},
    {"suspect": "a/b@c d"},
    {"unrelated": "/etc/passwd"},
    {"lineup": 20},
    {"seed": -1},
)
BANKS = ({"models": []}, {"format": 1}, {"base": ["0" * 64]}, {"prompt": "another"}, {"seed": 4})
# Codes that no visitor of the page can cause: options of the command line, files of the operator, and pieces of text.
ELSEWHERE = (
    r"families\.(alpha_(given_twice|in_\w+|not_positive|of_no_adapter)|other_(is|twice)\w*|no_scale|library_error"
    r"|prompts_with_embedding|quantised_flow_only)"
    r"|intake\.(vote_\w+|weights_hashed_otherwise|of_other_adapter|words_of_other_adapter|civitai_bad_key)"
    r"|page\.(no_gpu|not_installed|smoke_\w+|file_not_\w+)"
    r"|pictures\.(mark\.\w+|skipped_\w+|is_a_folder|no_file|no_pictures|not_a_folder)"
)
ROOMS = ("families.", "intake.", "judging.bank.", "page.", "pictures.")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "ROOT", tmp_path / "visits")


def header(**tensors) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def hostile_models(folder: Path) -> list[Path]:
    """Files that are no suspect, each for a reason of its own."""
    whole = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}
    files = {
        "pickle": pickle.dumps({"a": 1}),
        "huge": struct.pack("<Q", 10**10) + b"{",
        "none": b"",
        "text": struct.pack("<Q", 4) + b"text",
        "type": header(a=whole | {"dtype": "X9"}) + bytes(4),
        "shape": header(a=whole | {"shape": [-1]}) + bytes(4),
        "offsets": header(a=whole | {"data_offsets": [4, 0]}) + bytes(4),
        "fields": header(a={"dtype": "F16"}) + bytes(4),
        "gap": header(a=whole | {"data_offsets": [2, 6]}) + bytes(6),
        "overlap": header(a=whole, b=whole) + bytes(4),
        "size": header(a=whole | {"data_offsets": [0, 6]}) + bytes(6),
        "short": header(a=whole),
        "notes": header(a=whole, __metadata__={"a": 1}) + bytes(4),
    }
    for name, data in files.items():
        (folder / f"{name}.safetensors").write_bytes(data)
    save(folder / "vae.safetensors", {"decoder.conv_in.weight": torch.zeros(4, 4, 3, 3)})
    save(folder / "controlnet.safetensors", {"controlnet_cond_embedding.conv_in.weight": torch.zeros(4, 3, 3, 3)})
    for number, row in enumerate(REFUSALS):
        place = folder / f"adapter-{number}"
        place.mkdir()
        row.write(place)
    return sorted(p for p in folder.rglob("*.safetensors"))


def hostile_pictures(folder: Path) -> list[str]:
    (folder / "text.png").write_text("no picture")
    (folder / "none.png").write_bytes(b"")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    for name, size in (("white.png", (64, 64)), ("tiny.png", (8, 8)), ("wide.png", (20_000, 40))):
        Image.new("RGB", size, "white").save(folder / name)
    return sorted(str(p) for p in folder.iterdir() if p.suffix in (".png", ".svg"))


def check_language(said: str, language: str, asked: object) -> None:
    assert ENGLISH not in said and f'lang="{language}"' in said, (asked, said)


@pytest.mark.parametrize("language", OTHERS)
def test_no_refusal_stays_english(language, tmp_path):
    refused = 0
    for wish in WISHES:
        view = judging.begin(dataclasses.replace(request(), **wish), Visit().token, language)
        errors = [html for name, html in view.items() if name.startswith("error.") and html]
        assert len(errors) == 1, wish
        check_language(errors[0], language, wish)
    models = hostile_models(tmp_path)
    for path in models:
        card = look_up("", [str(path)], None, language, None)["card"]
        check_language(card, language, path.name)
        refused += 'role="alert"' in card
    assert refused >= 15
    pictures = hostile_pictures(tmp_path)
    seen = look_at_pictures(pictures, None, language)["seen"]
    check_language(seen, language, "pictures")
    assert seen.count("cg-refused") == len(pictures) == 6
    for number, spoilt in enumerate(BANKS):
        bank, visitor = write_bank(tmp_path / f"bank-{number}.json", **spoilt), Visit()
        view = judging.begin(request(bank=bank, controls=(), seed=3), visitor.token, language)
        if view["pending"]:
            *_, view = judging.fetch(visitor.token, view["pending"], language, None)
        said = view.get("error.bank") or view["progress"]
        assert 'role="alert"' in said
        check_language(said, language, spoilt)
    (tmp_path / "zip.zip").write_bytes(b"no zip")
    with pytest.raises(gr.Error) as caught:
        check_zip(str(tmp_path / "zip.zip"), language)
    assert not re.search("[Ee]xpected", str(caught.value.message))


def test_an_adapter_of_another_base_is_refused_in_the_visitor_s_language(tmp_path):
    """What shows when the models are opened together: after the run was begun, and before it costs anything."""
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 2048), f"{name}.lora_up.weight": torch.ones(640, 2)}
    save(tmp_path / "lora.safetensors", tensors)
    visitor, language = Visit(), "ja"
    wish = request(suspect="", upload=str(tmp_path / "lora.safetensors"), controls=())
    view = judging.begin(wish, visitor.token, language)
    *_, last = judging.go_on(visitor.token, view["pending"], language, None)
    assert 'role="alert"' in last["progress"]
    check_language(last["progress"], language, name)


def test_whatever_a_visitor_can_cause_is_translated():
    """By what the sentences are about: a new one is translated, or stands among those of elsewhere."""
    for language in OTHERS:
        missing = [code for code in english() if code.startswith(ROOMS) and code not in message_tables()[language]]
        assert [code for code in missing if not re.fullmatch(ELSEWHERE, code)] == [], language
