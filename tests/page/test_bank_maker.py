"""*Make a bank*: the commands parse, whatever strangers called things, and say what they cost."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub.cli import hf

from cgidm.cli.main import build_parser
from cgidm.page.handlers import bank as handlers
from cgidm.page.handlers.bank import answered_bank_view, bank_view
from cgidm.page.handlers.examples import EXAMPLE, example_names, show_example
from cgidm.page.html.bank import PRICES, bank_html
from cgidm.page.html.i18n import LANGUAGES, translate
from cgidm.page.runs import bank_cost, hardware, store
from cgidm.page.runs.bank_commands import (
    FLAVORS,
    JOB_SCRIPT,
    BankModels,
    choose_flavor,
    job_command,
    own_command,
)
from cgidm.page.runs.bank_cost import BankCost, count_bank
from cgidm.page.runs.model_cache import open_base, open_suspect
from cgidm.page.runs.store import Visit
from cgidm.training.trainer import FinetuneConfig
from scripts.jobs.bank_job import build_parser as job_parser
from tests.support import page_runs
from tests.support.errors import refuses
from tests.support.page_records import Reader
from tests.support.paths import ROOT, SUSPECTS, pictures_of

pytestmark = pytest.mark.usefixtures("small_models")

HOSTILE = (
    "it's $(touch /tmp/owned) `id` ${HOME}",
    '"; rm -rf ~ #',
    "--out=/etc",
    "-h",
    "a && b || c > d | e; f & g",
    "!! !$ \\ \\\\n %PATH% ^ *?[a-z]{1,2}~",
    " leading and trailing ",
    "'",
    "",
    "千と千尋の絵、œuvre",
)
UNPRINTABLE = ("a\nb", "a\rb", "\x1b[201~rm -rf ~", "a\u202eb", "a\u200bb", "a\x00b", "a\u2028b")
COST = BankCost(
    works=12, models=8, images=6, batch=2, steps=480, memory=5_000_000_000, weights=4 * 10**9, seconds=(1.0, 9.0)
)
FORM = {"suspect": f"shipped:{SUSPECTS[1]}", "upload": None, "base": "shipped:mini", "prompt": "sks style", "seed": 0}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path / "visits")


def models(**named):
    return BankModels(**{"base": "owner/base", "suspect": "owner/lora", "prompt": "sks style"} | named)


@pytest.mark.parametrize("text", HOSTILE)
def test_the_command_for_one_s_own_machine_says_what_was_named_and_no_more(text):
    named = models(base=text or "b", suspect=text or "s", prompt=text)
    named.check()
    program, *arguments = shlex.split(own_command(named))
    assert program == "cgidm"
    options = build_parser().parse_args(arguments)
    assert (options.base, options.suspect, options.prompt) == (text or "b", text or "s", text)
    assert options.pictures == [Path("my-works")] and options.out == Path("my-bank") and options.models == 8


@pytest.mark.parametrize("text", HOSTILE)
def test_the_command_that_rents_a_machine_reaches_the_same_parser(text, monkeypatch, capsys):
    named = models(base=text or "b", suspect=text or "s", prompt=text)
    words = shlex.split(job_command(named, "t4-small"))
    assert words[:4] == ["hf", "jobs", "uv", "run"]
    own, others = job_parser().parse_known_args(words[words.index(JOB_SCRIPT) + 1 :])
    assert (own.pictures, own.result, own.works, own.out) == ("my-works", "my-bank", None, None)
    options = build_parser().parse_args(["bank", ".", *others, "--out=bank"])
    assert (options.base, options.suspect, options.prompt) == (text or "b", text or "s", text)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    hf.app([*words[1:4], "--dry-run", *words[4:]], standalone_mode=False)
    said = capsys.readouterr().out
    assert JOB_SCRIPT in said and "t4-small" in said and "12h" in said, "the Hub's own command takes it"


@pytest.mark.parametrize("text", UNPRINTABLE)
@pytest.mark.parametrize("field", ["base", "suspect", "upload", "prompt"])
def test_what_a_terminal_could_take_for_something_else_is_refused(field, text):
    with refuses("page.bank_unprintable"):
        models(**{field: text}).check()
    view = bank_view(FORM | {"prompt": "a\x1bb"}, "en", None)
    assert 'role="alert"' in view["about"] and not view["own"]["visible"] and "\x1b" not in str(view)


def test_a_file_of_one_s_own_is_named_where_the_command_runs():
    named = models(suspect="", upload="-my lora.safetensors")
    options = build_parser().parse_args(shlex.split(own_command(named))[1:])
    assert options.suspect == "./-my lora.safetensors"
    assert "-my lora.safetensors" in Reader(bank_html(COST, named, "en")).text


def test_a_machine_is_rented_that_the_training_fits():
    for name, gigabytes in FLAVORS:
        assert choose_flavor(gigabytes * 1e9 - 1) == name
    assert choose_flavor(FLAVORS[-1][1] * 1e9) is None
    assert replace(COST, memory=None).needed > COST.weights and COST.needed > (COST.memory or 0)
    sizes = [size for _, size in FLAVORS]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_costs_are_said_in_every_language_and_the_price_is_a_link(language):
    said = bank_html(COST, models(), language)
    reader = Reader(said)
    counts = {"works": 12, "models": 8, "images": 6, "scores": 96, "steps": 480, "batch": 2}
    assert translate(language, "bank.make.amount", **counts) in reader.text
    assert translate(language, "bank.make.memory", gb="5.0") in reader.text
    assert ("a", {"href": PRICES, "target": "_blank", "rel": "noopener noreferrer"}) in reader.elements
    assert not re.search(r"[$€£¥]|USD|EUR", reader.text), "prices age"
    assert translate(language, "bank.make.seed") not in reader.text
    text = Reader(bank_html(replace(COST, steps=None, memory=None, seconds=None), models(), language, seed=7)).text
    for key in ("time.unknown", "seed"):
        assert translate(language, f"bank.make.{key}") in text
    assert translate(language, "bank.make.memory.unknown", gb="4.0") in text
    large = Reader(bank_html(replace(COST, memory=None, weights=10**12), models(), language))
    assert translate(language, "bank.make.memory.over") in large.text and not [e for e in large.elements if e[0] == "a"]


def test_the_amount_is_counted_as_the_command_counts(monkeypatch):
    monkeypatch.setattr("cgidm.training.cost.training_bytes", lambda folder, settings: 7)
    monkeypatch.setattr(bank_cost, "_COUNTED", type(bank_cost._COUNTED)())
    base, suspect = open_base("shipped:mini"), open_suspect(FORM["suspect"], None)
    found = count_bank(base, suspect, 12)
    assert (found.works, found.models, found.images, found.scores, found.memory) == (12, 8, 6, 96, 7)
    assert count_bank(base, suspect, 2).works == bank_cost.USUAL_WORKS
    if found.steps is not None:
        assert found.steps % found.models == 0


def test_a_suspect_that_notes_its_training_has_its_steps_and_a_time_counted(tmp_path, monkeypatch):
    from safetensors import safe_open
    from safetensors.torch import save_file

    (shipped,) = (ROOT / "assets" / "examples" / SUSPECTS[1] / "checkpoint").glob("*.safetensors")
    with safe_open(shipped, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    notes = {"ss_num_train_images": "120", "ss_num_reg_images": "0", "ss_num_epochs": "10", "ss_max_train_steps": "600"}
    notes |= {"ss_batch_size_per_device": "2", "ss_total_batch_size": "2", "ss_steps": "600", "ss_epoch": "10"}
    notes |= {"ss_num_batches_per_epoch": "60", "ss_dataset_dirs": '{"10_style": {"n_repeats": 10, "img_count": 12}}'}
    save_file(tensors, tmp_path / "lora.safetensors", notes | {"ss_network_module": "networks.lora"})
    monkeypatch.setattr("cgidm.training.cost.training_bytes", lambda folder, settings: None)
    found = count_bank(open_base("shipped:mini"), open_suspect("", str(tmp_path / "lora.safetensors")), 24)
    assert found.steps is not None and found.images == 12 and found.batch == 2
    assert found.steps == found.models * FinetuneConfig(steps=found.steps // found.models).steps
    assert found.seconds is not None and 0 < found.seconds[0] < found.seconds[1]
    monkeypatch.setattr(hardware, "LARGEST_ON_CPU", 1)
    if hardware.kind() == "cpu":
        slow = count_bank(open_base("shipped:mini"), open_suspect("", str(tmp_path / "lora.safetensors")), 24)
        assert slow.seconds is None, "nothing is known of large models without a GPU"


def test_the_form_s_models_stand_in_the_commands():
    view = bank_view(FORM | {"picture": [str(p) for p in pictures_of(SUSPECTS[1], "member")[:5]]}, "de", None)
    for name in ("own", "job"):
        words = shlex.split(view[name]["value"])
        assert view[name]["visible"] and {"--base=shipped:mini", f"--suspect={FORM['suspect']}"} <= set(words)
        assert "--prompt=sks style" in words
    assert translate("de", "bank.make.why") in Reader(view["about"]).text


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"suspect": ""}, "page.no_suspect"), ({"base": ""}, "page.no_base"), ({"base": f"shipped:{SUSPECTS[1]}"}, "")],
)
def test_what_cannot_be_a_bank_is_refused_in_one_sentence(changes, code):
    view = bank_view(FORM | changes, "en", None)
    assert 'role="alert"' in view["about"] and not view["own"]["visible"] and not view["job"]["visible"]


def test_a_base_of_another_family_and_a_base_that_is_none_are_refused():
    suspect = open_suspect(FORM["suspect"], None)
    with refuses("training.suspect_of_other"):
        count_bank(open_base("shipped:mini-flow"), suspect, 12)
    with refuses("training.base_kind"):
        count_bank(open_base(f"shipped:{SUSPECTS[1]}"), suspect, 12)


def test_a_base_of_rectified_flow_has_its_bank_and_neither_memory_nor_time_is_made_up():
    form = FORM | {"suspect": "shipped:mini-flow-lora", "base": "shipped:mini-flow"}
    cost = count_bank(open_base("shipped:mini-flow"), open_suspect(form["suspect"], None), 12)
    assert cost.memory is None and cost.seconds is None and cost.weights > 10**6
    view = bank_view(form, "en", None)
    assert "--base=shipped:mini-flow" in shlex.split(view["own"]["value"]) and view["job"]["visible"]


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_why_there_is_no_bank_is_said_in_the_visitor_s_language(language):
    said = bank_view(FORM | {"base": "shipped:mini-flow"}, language, None)["about"]
    english = bank_view(FORM | {"base": "shipped:mini-flow"}, "en", None)["about"]
    assert Reader(said).text != Reader(english).text and "FLUX" in said


def test_an_answer_without_a_bank_offers_the_commands_for_its_own_models():
    name = next(n for n in example_names() if n.endswith("holdout"))
    view = show_example(name, "en")
    assert view["more_power"]["visible"] and translate("en", "now.bank") in Reader(view["steps"]).text
    commands = answered_bank_view("", EXAMPLE + name, "en", None)
    assert f"--suspect=shipped:{name.split('/')[0]}" in shlex.split(commands["own"]["value"])
    positive = show_example(next(n for n in example_names() if n.endswith("member")), "en")
    assert not positive["more_power"]["visible"]
    assert answered_bank_view("", "nothing", "en", None) == {}


def test_a_run_s_own_models_are_taken_not_the_form_s():
    visit = Visit()
    run = page_runs.request(suspect=f"shipped:{SUSPECTS[0]}").begin(visit)
    view = answered_bank_view(visit.token, run.name, "en", None)
    assert f"--suspect=shipped:{SUSPECTS[0]}" in shlex.split(view["own"]["value"])
    assert answered_bank_view(Visit().token, run.name, "en", None) == {}, "another visit's"


def test_a_configuration_that_states_too_much_is_refused(monkeypatch):
    real = bank_cost.read_json
    monkeypatch.setattr(bank_cost, "read_json", lambda listing, file: real(listing, file) | {"layers_per_block": 10**6})
    monkeypatch.setattr(bank_cost, "_COUNTED", type(bank_cost._COUNTED)())
    view = handlers.bank_view(FORM, "en", None)
    assert 'role="alert"' in view["about"] and not view["own"]["visible"]
