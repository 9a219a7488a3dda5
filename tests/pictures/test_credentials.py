"""Content credentials of a picture, really signed: what they say is said, whoever wrote it, and nothing is fetched."""

import io
import sys

import c2pa
import pytest
from PIL import Image

from cgidm.messages import english, note
from cgidm.pictures.credentials import _describe, credential_notes
from cgidm.pictures.images import decode_picture
from tests.support.painters import painter, picture

HOSTILE = "<b>Ann</b>\x1b[31m\u202e"
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CLAIM = {
    "claim_generator_info": [{"name": HOSTILE, "version": "1"}],
    "title": "a",
    "assertions": [
        {"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": GENERATED}]}},
        {
            "label": "cawg.training-mining",
            "data": {
                "entries": {
                    "cawg.ai_generative_training": {"use": "notAllowed"},
                    "cawg.data_mining": {"use": "constrained", "constraint_info": "ask"},
                }
            },
        },
    ],
}


@pytest.fixture(scope="module")
def signed():
    """A PNG and a JPEG with the same claim."""
    chain, key = painter()
    made = {}
    for kind, mime in (("PNG", "image/png"), ("JPEG", "image/jpeg")):
        out = io.BytesIO()
        info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=key, ta_url=None)
        with c2pa.Builder(CLAIM) as builder:
            builder.sign(c2pa.Signer.from_info(info), mime, io.BytesIO(picture(kind)), out)
        made[kind] = out.getvalue()
    return made


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_the_credentials_say_is_said(signed, kind):
    notes = [n for n in decode_picture(signed[kind], "a", 64).notes if n.code != "pictures.centre_square"]
    assert [(n.code.removeprefix("pictures.credentials_"), dict(n.params)) for n in notes] == [
        ("valid", {}),
        ("signer", {"names": ["Painter", "Studio"]}),
        ("tools", {"names": ["<b>Ann</b>[31m 1"]}),
        ("made_by_model", {"action": "created"}),
        ("forbid", {"uses": ["ai generative training"]}),
        ("constrain", {"uses": ["data mining"]}),
        ("conditions", {"use": "data mining", "conditions": "ask"}),
    ]
    assert "created (made by a trained model)" in str(notes[3]) and all(n.code in english() for n in notes)


def test_a_store_of_every_kind_of_statement_is_described_and_bounded():
    actions = [{"action": "c2pa.opened"}, {"action": "c2pa.edited", "digitalSourceType": "x/odd\n"}] * 5
    entries = {f"c2pa.use_{i}": {"use": "allowed"} for i in range(20)} | {"c2pa.other": "may\nbe"}
    assertions = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
    assertions += [{"label": "c2pa.training-mining", "data": {"entries": entries}}]
    store = {"active_manifest": "m", "manifests": {"m": {"assertions": assertions}}}
    notes = list(_describe(store))
    assert [n.code.removeprefix("pictures.credentials_") for n in notes] == [
        "not_checked",
        *(["other_source"] * 3),
        *("actions", "more_actions", "allow", "other_permission"),
    ]
    assert notes[4].params == {"names": ["opened"] * 3} and notes[5].params == {"count": 4}
    assert len(notes[6].params["uses"]) == 8 and notes[7].params == {"uses": ["other"], "permission": "may be"}
    assert all(n.code in english() and str(n).isprintable() for n in notes)


def test_a_picture_that_was_altered_is_called_so(signed):
    data = bytearray(signed["JPEG"])
    data[-40] ^= 1  # within the picture
    assert credential_notes(bytes(data), "JPEG")[0].code == "pictures.credentials_invalid"


def test_credentials_that_were_altered_or_damaged_are_called_so(signed):
    notes = credential_notes(signed["PNG"].replace(b"notAllowed", b"isAllowed!"), "PNG")
    odd = note("pictures.credentials_other_permission", uses=["ai generative training"], permission="isAllowed!")
    assert notes[0].code == "pictures.credentials_invalid" and odd in notes
    (damaged,) = credential_notes(signed["JPEG"][:9000], "JPEG")
    assert damaged.code == "pictures.credentials_damaged" and str(damaged).isprintable()


def test_a_picture_without_them_has_no_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)  # it is not even imported
    assert credential_notes(picture(), "PNG") == [] and decode_picture(picture("WEBP"), "a", 64).notes[:-1] == ()


def test_without_the_package_it_is_said_that_they_were_not_read(signed, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert credential_notes(signed["PNG"], "PNG") == [note("pictures.credentials_not_read")]


def test_credentials_that_are_kept_elsewhere_are_not_fetched(monkeypatch):
    import socket

    def refuse(*_, **__):
        raise AssertionError("something was fetched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" '
        'dcterms:provenance="http://127.0.0.1:9/c2pa"/></rdf:RDF></x:xmpmeta>'
    )
    data = io.BytesIO()
    Image.effect_noise((96, 64), 80).convert("RGB").save(data, "JPEG", xmp=xmp.encode())
    notes = credential_notes(data.getvalue(), "JPEG")
    assert len(notes) <= 1 and all(n.code == "pictures.credentials_damaged" for n in notes)
