"""The page's handler as a plain generator, on the shipped model and pictures: what a visitor gets."""

import dataclasses

import gradio as gr
import pytest

import app
from cgidm.config import PRESETS


@pytest.fixture
def short(monkeypatch):
    """The fast preset with three steps: the page's behaviour, not the method's strength."""
    fast = PRESETS["fast"]
    recovery = dataclasses.replace(fast.recovery, steps=3, draws=1)
    monkeypatch.setitem(PRESETS, "fast", dataclasses.replace(fast, recovery=recovery))


@pytest.mark.parametrize("part", ["member", "holdout"])
def test_a_visitor_sees_three_pictures_and_a_verdict(short, part):
    example = "gerald-g-dreambooth"
    answers = list(app.authenticate(str(app.example_files(example, part)[0]), example, "fast"))
    original, partial, recovered, text = answers[-1]
    assert original.shape == partial.shape == recovered.shape == (128, 128, 3)
    assert (original != partial).any() and (partial != recovered).any()
    assert "Recovering" in answers[1][3] and text.startswith(("## consistent", "## no evidence")) and "p = " in text


def test_a_wrong_file_is_one_sentence_without_the_server_s_paths(tmp_path):
    wrong = tmp_path / "wrong.png"
    wrong.write_text("hello")
    for path, said in ((None, "No picture"), (str(wrong), "wrong.png")):
        with pytest.raises(gr.Error) as error:
            next(app.authenticate(path, "rollandin-lora", "fast"))
        assert said in str(error.value) and "accepted" in str(error.value) and str(tmp_path) not in str(error.value)


def test_the_page_builds_and_names_its_endpoint():
    with app.build_page() as page:
        assert "authenticate" in [f.api_name for f in page.fns.values()]
