"""The tab *Check a zip*: it says what `verify` says, shows nothing of a hostile zip, and is said in five languages."""

import json
import re
import shutil
import zipfile

import gradio as gr
import pytest

from cgidm.evidence.bundle_reader import EPOCH
from cgidm.evidence.bundle_writer import pack_evidence, write_evidence
from cgidm.evidence.seal import SEAL
from cgidm.page.handlers import check, uploads
from cgidm.page.handlers.check import check_zip, examine
from cgidm.page.html.i18n import LANGUAGES, translate
from tests.support.bundles import MODELS, reseal
from tests.support.page_records import Reader
from tests.support.results import result_of


class FrameReader(Reader):
    """Also reads the frame of the report."""

    more_tags, more_attributes = ("iframe",), ("sandbox", "referrerpolicy", "title", "srcdoc")


SCRIPT = '<script>alert(1)</script><img src="https://tracker.example/x.png">'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("check")
    write_evidence(result_of([2.0, 0.1]), place / "folder", MODELS)
    pack_evidence(place / "folder", place / "evidence.zip")
    return place


def altered(made, target, change):
    """A zip of a folder that was changed and sealed anew."""
    folder = shutil.copytree(made / "folder", target / "folder")
    change(folder)
    return pack_evidence(folder, target / "altered.zip")


def test_it_shows_what_verify_says_and_what_it_does_not_show(made):
    view = check_zip(str(made / "evidence.zip"), "en")
    reader, seal = FrameReader(view["checked"]), (made / "folder" / SEAL).read_text().split()[0]
    record = json.loads((made / "folder" / "result.json").read_text())
    assert view["seal"]["value"] == seal and view["seal"]["visible"]
    for said in (
        record["date"],
        "Consistent in itself: ",
        record["pictures"][0]["sha256"],
        record["models"]["suspect"],
    ):
        assert said in reader.text
    for key in ("check.whole", "check.limit.seal", "check.limit.chance", "check.grade.signed.open", "outcome.weak"):
        assert translate("en", key) in reader.text
    pictures = [attributes for tag, attributes in reader.elements if tag == "img"]
    assert len(pictures) == 2 and all(p["src"].startswith("data:image/png;base64,iVBOR") for p in pictures)
    assert (made / "evidence.zip").is_file()  # it was no upload


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_said_in_the_visitor_s_language(made, tmp_path, language):
    (tmp_path / "none.zip").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(gr.Error) as caught:
        check_zip(str(tmp_path / "none.zip"), language)
    assert "none.zip" in caught.value.message and ("Expected" in caught.value.message) == (language == "en")

    def change(folder):
        (folder / "report.html").write_text("mine")

    view = check_zip(str(altered(made, tmp_path, change)), language)
    reader = FrameReader(view["checked"])
    assert translate(language, "check.altered") in reader.text and "report.html" in reader.text
    assert '<span lang="en">' not in view["checked"] and not view["seal"]["visible"]


def test_the_report_is_made_anew_and_nothing_in_its_frame_runs_or_loads(made, tmp_path):
    """Whoever seals a report of their own does not get it shown."""

    def change(folder):
        (folder / "report.html").write_text(SCRIPT)
        reseal_only(folder)

    shown = check_zip(str(altered(made, tmp_path, change)), "en")["checked"]
    assert translate("en", "check.inconsistent") in shown and "report.html" in shown and "tracker" not in shown
    [frame] = [dict(attributes) for tag, attributes in FrameReader(shown).elements if tag == "iframe"]
    assert frame["sandbox"] == "" and "src" not in frame
    inner = frame["srcdoc"]
    assert "default-src 'none'" in inner and "<script" not in inner
    assert set(re.findall(r"(?:src|href)='(\w+):", inner)) == {"data"}


def reseal_only(folder):
    """Seal whatever lies there."""
    from cgidm.evidence.seal import seal_folder

    names = list(json.loads((folder / "manifest.json").read_text())["sha256"])
    seal_folder(folder, json.loads((folder / "result.json").read_text()), names)


def test_texts_of_a_hostile_record_stay_texts(made, tmp_path):
    def change(record):
        record["models"]["suspect"] = record["pictures"][0]["name"] = record["date"] = SCRIPT
        record["pictures"][0]["p_value"] = -1.0

    folder = shutil.copytree(made / "folder", tmp_path / "hostile")
    reseal(folder, change)
    shown = check_zip(str(pack_evidence(folder, tmp_path / "hostile.zip")), "en")["checked"]
    assert translate("en", "check.inconsistent") in shown
    elements = FrameReader(shown).elements
    assert "script" not in {tag for tag, _ in elements}
    assert all(attributes["src"].startswith("data:image/png;") for tag, attributes in elements if tag == "img")


def hostile_zips(made, place):
    """Zips that nobody should unpack, by what is wrong with them."""
    with zipfile.ZipFile(place / "traversal.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("../../outside.txt", b"x")
        out.writestr("/etc/passwd", b"x")
    with zipfile.ZipFile(place / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for number in range(12):
            with out.open(zipfile.ZipInfo(f"{number}.png", EPOCH), "w") as file:
                for _ in range(100):
                    file.write(bytes(1_000_000))
    with zipfile.ZipFile(place / "many.zip", "w") as out:
        for number in range(check.MAX_FILES + 1):
            out.writestr(f"{number}.txt", b"")
    (place / "empty.zip").write_bytes(b"")
    (place / "picture.zip").write_bytes((made / "folder" / "00-original.png").read_bytes())


def test_hostile_zips_are_harmless_and_get_one_sentence(made, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "MAX_UNPACKED", 500_000_000)
    hostile_zips(made, tmp_path)
    for name in ("bomb", "many", "empty", "picture"):
        with pytest.raises(gr.Error) as caught:
            check_zip(str(tmp_path / f"{name}.zip"), "de")
        assert "\n" not in caught.value.message and len(caught.value.message) < 400
        assert str(tmp_path) not in caught.value.message
    view = check_zip(str(tmp_path / "traversal.zip"), "en")
    assert translate("en", "check.altered") in view["checked"]
    assert not (tmp_path.parent / "outside.txt").exists()


def test_what_is_too_large_to_derive_is_said_and_not_derived(made, monkeypatch):
    monkeypatch.setattr(check, "MAX_PIXELS", 10)
    monkeypatch.setattr(check, "recompute", lambda *_: pytest.fail("derived"))
    found = examine(made / "evidence.zip")
    assert found.checked.is_consistent is None and found.report is None
    view = check_zip(str(made / "evidence.zip"), "en")
    assert translate("en", "check.too_large_to_derive") in FrameReader(view["checked"]).text


def test_the_zip_is_deleted_after_the_check(made, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "get_upload_folder", lambda: str(tmp_path))
    (tmp_path / "aa").mkdir()
    sent = shutil.copyfile(made / "evidence.zip", tmp_path / "aa" / "evidence.zip")
    check_zip(str(sent), "en")
    assert not (tmp_path / "aa").exists()
    assert check_zip(None, "en")["checked"] == ""
