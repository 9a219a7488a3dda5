"""What Civitai states of a version, read as if it were hostile: a version, or one sentence."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from cgidm.intake.civitai.answers import CivitaiError
from cgidm.intake.civitai.location import CivitaiSource
from cgidm.intake.civitai.version import choose_file, describe_publication, newest_version, read_version
from tests.support.civitai_server import File, Version

KNOWN = Version(5, 6, [File(7, b"x"), File(8, b"y", "b.ckpt", primary=False, properties={"fp": "fp16"})]).describe()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300)
ANY_JSON = st.recursive(
    SCALARS, lambda j: st.lists(j, max_size=3) | st.dictionaries(st.text(max_size=9), j, max_size=3)
)
FEW = settings(max_examples=min(200, settings().max_examples))  # drawing JSON takes longer than reading it
FIELDS = [(name,) for name in KNOWN] + [("files", 0, name) for name in KNOWN["files"][0]]
FIELDS += [("model", "mode"), ("model", "name"), ("files", 0, "hashes", "SHA256"), ("files", 0), ("trainedWords", 0)]


def changed(changes):
    table = copy.deepcopy(KNOWN)
    for steps, value in changes:
        place = table
        try:
            for step in steps[:-1]:
                place = place[step]
            place[steps[-1]] = value
        except (TypeError, KeyError, IndexError):  # an earlier change took the place away
            pass
    return table


@FEW
@given(st.lists(st.tuples(st.sampled_from(FIELDS), ANY_JSON), min_size=1, max_size=3))
def test_any_value_in_any_field_is_read_or_refused(changes):
    try:
        version = read_version(changed(changes), "it")
        file = choose_file(version, CivitaiSource(5, 6))
    except CivitaiError:
        return
    publication = describe_publication(version, file, None)
    assert file.name.lower().endswith(".safetensors") and not set(file.name) & set("/\\\0\n\x1b<>")
    assert publication.air.isascii() and publication.air.endswith(
        f"civitai:{version.model}@{version.number}+{file.number}"
    )
    texts = [
        publication.model_name,
        publication.version_name,
        *publication.trained_words,
        *publication.digests.values(),
    ]
    texts += [publication.published or "", publication.base_model or ""]
    assert all((text.isprintable() or not text) and len(text) <= 200 for text in texts)


@FEW
@given(
    ANY_JSON
    | st.fixed_dictionaries(
        {
            "modelVersions": st.lists(
                st.dictionaries(st.sampled_from(["id", "publishedAt", "createdAt", "status"]), SCALARS)
            )
        }
    )
)
def test_any_model_has_a_newest_version_or_none(answer):
    try:
        number, of = newest_version(answer, "it")
    except CivitaiError:
        return
    assert number > 0 and of > 0
