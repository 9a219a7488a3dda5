"""The page's handler as a plain generator, on the shipped model and pictures: what a visitor gets."""

import dataclasses

import gradio as gr
import httpx
import pytest
from safetensors.torch import load_file, save_file

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


def test_a_visitor_learns_what_a_model_file_is(tmp_path):
    path = tmp_path / "secret-folder" / "rollandin.safetensors"
    path.parent.mkdir()
    notes = {"ss_tag_frequency": '{"10_sks style": {}}', "ss_sd_model_name": "<b>v1-5</b>\x1b[31m"}
    state = load_file(app.ASSETS / "examples" / "rollandin-lora" / "checkpoint" / "pytorch_lora_weights.safetensors")
    save_file(state, path, notes)
    report, base, prompt = app.check_model("", str(path))
    assert "LoCon" in report and "upload/rollandin.safetensors" in report and prompt == "sks style"
    assert "secret-folder" not in report and "\x1b" not in report and isinstance(base, str)


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (" ", "No model was given"),
        ("/etc/passwd", "no model on the Hub"),
        (str(app.BASE), "no model on the Hub"),
        ("file:///etc/passwd", "another site"),
        ("http://127.0.0.1:7860/a/b", "another site"),
        ("owner/name/model.ckpt", "pickle"),
    ],
)
def test_a_visitor_names_no_path_of_the_server_s_and_no_pickle(link, said):
    with pytest.raises(gr.Error, match=said) as error:
        app.check_model(link, None)
    assert "accepted" in str(error.value)


def test_a_file_of_the_server_s_is_no_upload_and_is_not_served():
    page = app.build_page()
    _, url, _ = page.queue().launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    try:
        for path in ("/etc/passwd", str(app.BASE / "model_index.json")):
            upload = {"path": path, "meta": {"_type": "gradio.FileData"}}
            client = httpx.Client(base_url=url, timeout=30)
            event = client.post("/gradio_api/call/check_model", json={"data": ["", upload]}).json()["event_id"]
            answer = client.get(f"/gradio_api/call/check_model/{event}").text
            served = client.get(f"/gradio_api/file={path}").status_code
            client.close()
            assert answer.startswith("event: error") and served == 403
    finally:
        page.close()


def test_the_page_builds_and_names_its_endpoints():
    with app.build_page() as page:
        assert {"authenticate", "check_model"} <= {f.api_name for f in page.fns.values()}
