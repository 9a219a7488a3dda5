"""Which families can be judged on this hardware: counted, the same rule as a run's plan, said in five languages."""

import json
from itertools import pairwise

import pytest

from cgidm.intake.family import JUDGED
from cgidm.method.card_fit import CARDS, plan_for_memory
from cgidm.page.html.fits import fits_html, judged_html
from cgidm.page.html.i18n import LANGUAGES, translate
from cgidm.page.runs import family_fits as fits
from cgidm.page.runs import hardware
from cgidm.page.ui.model_panel import _families, _families_key
from tests.support.page_records import Reader

SIZES = json.loads(fits.SIZES.read_text())


@pytest.fixture
def machine(monkeypatch):
    """Makes this machine one of a kind, with so many free GB; None: unknown."""

    def make(kind, gigabytes=None, download=10**12):
        monkeypatch.setattr(hardware, "kind", lambda: kind)
        monkeypatch.setattr(hardware, "gpu_memory", lambda: None if gigabytes is None else int(gigabytes * 1e9))
        monkeypatch.setattr(hardware, "describe", lambda: "<b>Tesla</b>")
        monkeypatch.setattr(fits, "MAX_DOWNLOAD", download)
        monkeypatch.setattr("cgidm.page.html.fits.MAX_DOWNLOAD", download)

    return make


def rows(language="en"):
    reader = Reader(fits_html(language))
    assert sum(tag == "tr" for tag, _ in reader.elements) == 2 + sum(map(len, SIZES.values())) + len(uncounted())
    return reader


def uncounted():
    return set(JUDGED) - SIZES.keys()


def found(family, kind="adapter"):
    return {"family": family, "kind": kind}


def test_every_family_is_counted_or_said_to_be_not(machine):
    machine("gpu", 24)
    assert set(SIZES) <= set(JUDGED) and uncounted() == set(fits.uncounted_families()) == {"AltDiffusion", "Lumina 2"}
    text = rows().text
    for family in JUDGED:
        assert family in text


@pytest.mark.parametrize("gigabytes", [6, 12, 24, 80, 140])
def test_what_fits_is_what_a_run_s_own_plan_says(machine, gigabytes):
    machine("gpu", gigabytes)
    for fit in fits.family_fits():
        counted = next(m for m in SIZES[fit.family] if m["title"] == fit.title)
        assert fit.can_run == plan_for_memory(counted, int(gigabytes * 1e9), recovery=True).fits
        assert fit.card in (None, *CARDS)
        if fit.card is not None and fit.card <= gigabytes:
            assert fit.can_run


def test_more_memory_never_takes_a_family_away(machine):
    able = []
    for gigabytes in (4, 8, 12, 16, 24, 48, 96, 200):
        machine("gpu", gigabytes)
        able.append({fit.title for fit in fits.family_fits() if fit.can_run})
    assert all(less <= more for less, more in pairwise(able)) and able[0] < able[-1]
    assert len(able[-1]) == sum(map(len, SIZES.values()))


def test_a_whole_model_needs_two_networks(machine):
    machine("gpu", 24)
    one, two = ({f.title: f for f in fits.family_fits(networks=n)} for n in (1, 2))
    assert all((one[t].card or 999) <= (two[t].card or 999) for t in one)


def test_what_the_page_does_not_download_is_not_promised(machine):
    machine("gpu", 140, download=15 * 10**9)
    large = [fit for fit in fits.family_fits() if not fit.can_run]
    assert large and all(fit.fits_memory and not fit.fits_download for fit in large)
    assert translate("en", "fits.no.download") in rows().text
    said = Reader(judged_html(found("FLUX"), "en")).text
    assert translate("en", "fits.card.not_here") in said and "15 GB" in said
    assert "FLUX" not in _families() and "SDXL" in _families()


def test_the_card_of_a_suspect_that_does_not_fit_names_the_card_that_would(machine):
    machine("gpu", 12)
    said = Reader(judged_html(found("FLUX"), "en")).text
    card = next(fit.card for fit in fits.family_fits(("FLUX",)))
    assert translate("en", "fits.card.not_here") in said
    assert translate("en", "fits.card.one", model="FLUX.1 dev", gb=card) in said
    some = Reader(judged_html(found("FLUX.2"), "en")).text
    assert translate("en", "fits.card.some", models="FLUX.2 klein 4B") in some and "FLUX.2 dev" in some
    assert Reader(judged_html(found("SDXL"), "en")).text == translate("en", "card.judged.here")
    machine("gpu", 140)
    assert Reader(judged_html(found("FLUX.2"), "en")).text == translate("en", "card.judged.here")


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_a_gpu_the_page_says_what_the_processor_is_good_for(machine, language):
    machine("cpu")
    text = rows(language).text
    assert translate(language, "fits.about.cpu") in text and text.count("●") == 1, "the model that ships"
    assert translate(language, "fits.shipped") in text
    said = Reader(judged_html(found("SDXL"), language)).text
    assert translate(language, "card.judged.gpu") in said and "8" in said
    assert _families_key() == "fits.base.cpu" and _families() == list(JUDGED)
    assert not any(fit.can_run for fit in fits.family_fits())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_lent_gpu_is_not_guessed(machine, language):
    machine("zero")
    text = rows(language).text
    assert translate(language, "fits.about.zero") in text and translate(language, "fits.lent") in text
    said = Reader(judged_html(found("FLUX"), language)).text
    assert said.startswith(translate(language, "card.judged.here")) and "FLUX.1 dev" in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_gpu_is_named_and_a_hostile_name_is_escaped(machine, language):
    machine("gpu", 24)
    reader = rows(language)
    assert ("b", {}) not in reader.elements and "24" in reader.text
    said = Reader(judged_html(found("FLUX.2", "full"), language)).text
    assert "FLUX.2" in said


def test_families_that_are_known_and_not_judged_or_not_known_keep_their_sentences(machine):
    machine("gpu", 24)
    for family, key in (("Wan", "card.judged.family"), (None, "card.judged.base")):
        assert Reader(judged_html(found(family), "en")).text == translate("en", key)
    both = Reader(judged_html(found("Lumina 2 or Z-Image"), "en")).text
    assert both == translate("en", "card.judged.here")
    alone = Reader(judged_html(found("Lumina 2"), "en")).text
    assert translate("en", "fits.card.uncounted") in alone
    assert Reader(judged_html(found("FLUX"), "en", shipped=True)).text == translate("en", "card.judged.here")


def test_the_memory_is_asked_for_once_and_only_of_one_s_own_gpu(monkeypatch):
    hardware.gpu_memory.cache_clear()
    monkeypatch.setattr(hardware, "kind", lambda: "gpu")
    asked = []
    monkeypatch.setattr(hardware, "free_memory", lambda device: asked.append(device.type) or 7)
    assert hardware.gpu_memory() == hardware.gpu_memory() == 7 and asked == ["cuda"]
    hardware.gpu_memory.cache_clear()
    for kind in ("cpu", "zero"):
        monkeypatch.setattr(hardware, "kind", lambda kind=kind: kind)
        assert hardware.gpu_memory() is None
        hardware.gpu_memory.cache_clear()
    assert asked == ["cuda"]
