"""Links and AIRs of Civitai: a model, a version, a file, or one sentence."""

import pytest

from cgidm.intake.civitai.location import CivitaiSource
from cgidm.intake.source import parse_source
from tests.support.errors import refuses


@pytest.mark.parametrize(
    ("given", "model", "version", "file", "host"),
    [
        ("https://civitai.com/models/827184?modelVersionId=2514310", 827184, 2514310, None, "civitai.com"),
        ("civitai.com/models/827184/wai-illustrious-sdxl", 827184, None, None, "civitai.com"),
        ("https://civitai.com/models/827184/a/b?modelVersionId=7&x=1#top", 827184, 7, None, "civitai.com"),
        ("http://www.civitai.com/models/5/", 5, None, None, "www.civitai.com"),
        ("https://civitai.red/models/5?modelVersionId=6", 5, 6, None, "civitai.red"),
        ("https://CIVITAI.green/models/5", 5, None, None, "civitai.green"),
        ("https://civitai.com/api/download/models/6?fileId=9", None, 6, 9, "civitai.com"),
        ("civitai.com/api/download/models/6", None, 6, None, "civitai.com"),
        ("https://civitai.com/api/v1/model-versions/6", None, 6, None, "civitai.com"),
        ("https://civitai.com/api/v1/models/5", 5, None, None, "civitai.com"),
        ("https://civitai.com/model-versions/6", None, 6, None, "civitai.com"),
        ("urn:air:sdxl:lora:civitai:827184@2514310", 827184, 2514310, None, "civitai.com"),
        ("urn:air:sdxl:lora:civitai:827184@2514310+2402203", 827184, 2514310, 2402203, "civitai.com"),
        ("URN:AIR:sd1:lora:Civitai:5@6.safetensor", 5, 6, None, "civitai.com"),
        ("air:sdxl:checkpoint:civitai:5@6", 5, 6, None, "civitai.com"),
        (" sdxl:checkpoint:civitai:5 ", 5, None, None, "civitai.com"),
        ("civitai:5@6", 5, 6, None, "civitai.com"),
        ("civitai: 5 @ 6", 5, 6, None, "civitai.com"),
    ],
)
def test_locations_on_civitai(given, model, version, file, host):
    for local in (True, False):
        assert parse_source(given, local=local) == CivitaiSource(model, version, file, host=host)


def test_a_download_link_may_describe_its_file():
    link = "https://civitai.com/api/download/models/6?type=Model&format=SafeTensor&size=pruned&fp=fp16"
    wanted = (("type", "Model"), ("format", "SafeTensor"), ("size", "pruned"), ("fp", "fp16"))
    assert parse_source(link) == CivitaiSource(None, 6, properties=wanted)


def test_the_name_of_a_source_names_it_again():
    source = CivitaiSource(5, 6, 7)
    assert source.name == "civitai:5@6+7" and parse_source(source.name) == source
    assert parse_source(f"{source.name}/my lora.safetensors") == CivitaiSource(5, 6, 7, path="my lora.safetensors")
    assert parse_source("civitai:5@6+7/a + b.safetensors").path == "a + b.safetensors"
    assert parse_source(CivitaiSource(None, 6).name) == CivitaiSource(None, 6)


def test_what_exists_here_goes_first_unless_nothing_here_may_be_named(tmp_path, monkeypatch):
    (tmp_path / "civitai.com" / "models" / "5").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not isinstance(parse_source("civitai.com/models/5"), CivitaiSource)
    assert isinstance(parse_source("civitai.com/models/5", local=False), CivitaiSource)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("https://civitai.com/", "civitai_link_to_no_model"),
        ("https://civitai.com/user/somebody", "civitai_link_to_no_model"),
        ("https://civitai.com/images/5", "civitai_link_to_no_model"),
        ("https://civitai.com/models", "civitai_link_to_no_model"),
        ("https://civitai.com/models/dogs", "civitai_link_to_no_model"),
        ("https://civitai.com/models/0", "civitai_link_to_no_model"),
        ("https://civitai.com/models/9999999999", "civitai_link_to_no_model"),
        ("https://civitai.com/models/5?modelVersionId=x", "civitai_link_to_no_model"),
        ("https://civitai.com/models/5?modelVersionId=٣", "civitai_link_to_no_model"),
        ("https://civitai.com/api/download/models/5?fileId=../x", "civitai_link_to_no_model"),
        ("https://civitai.com:8443/models/5", "other_site"),
        ("https://me:secret@civitai.com/models/5", "other_site"),
        ("https://evilcivitai.com/models/5", "other_site"),
        ("ftp://civitai.com/models/5", "other_site"),
        ("https://image.civitai.com/models/5", "other_site"),
        ("urn:air:model:huggingface:stabilityai/sdxl-vae", "air_other_place"),
        ("urn:air:other:other:civitai-r2:civitai-worker-assets@sam.onnx", "air_other_place"),
        ("urn:air:sdxl:lora:civitai:5@6.ckpt", "pickle"),
    ],
)
def test_what_names_no_version_is_refused_in_one_line(given, code):
    for local in (True, False):
        with refuses(f"intake.{code}") as error:
            parse_source(given, local=local)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["token", "TOKEN", "api_key", "key"])
def test_a_key_in_a_link_is_refused_and_never_repeated(name):
    with refuses("intake.civitai_key_in_link") as error:
        parse_source(f"https://civitai.com/api/download/models/6?type=Model&{name}=s3cr3t")
    with refuses("intake.other_site") as elsewhere:
        parse_source(f"https://elsewhere.org/x?{name}=s3cr3t&y=1")
    for text in (str(error.value), str(elsewhere.value), repr(error.value.params), repr(elsewhere.value.params)):
        assert "s3cr3t" not in text
