"""`cgidm smoke`: a page that answers as the evidence does passes; another one, or none, does not."""

import json
import zipfile

import pytest
from gradio_client import Client, handle_file

from cgidm.cli import main
from cgidm.evidence.seal import RECORD
from cgidm.resources import example_answers
from tests.support.bundles import record_of
from tests.support.paths import SUSPECTS, pictures_of

pytestmark = pytest.mark.slow


def test_a_page_answers_as_this_version_does_or_not(small_server, tmp_path, capsys):
    name = record_of(example_answers() / SUSPECTS[1] / "member").pictures[0].name
    [picture] = [p for p in pictures_of(SUSPECTS[1], "member") if p.name == name]
    client = Client(small_server.url, verbose=False)
    given = {"picture": handle_file(picture), "suspect": f"shipped:{SUSPECTS[1]}"}
    *_, evidence = client.predict(**given, steps=2, api_name="/authenticate")
    with zipfile.ZipFile(evidence) as held:
        held.extractall(tmp_path)
    assert main(["smoke", small_server.url, "--answer", str(tmp_path)]) == 0
    assert "it answers as this version does" in capsys.readouterr().out
    record = json.loads((tmp_path / RECORD).read_text())
    record["pictures"][0]["scores"]["loss_contrast"] += 1
    (tmp_path / RECORD).write_text(json.dumps(record))
    (tmp_path / "00-original.png").write_bytes(b"another")
    assert main(["smoke", small_server.url, "--answer", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "differs: score loss_contrast" in said and "differs: 00-original.png: other bytes" in said


def test_a_page_that_is_not_there_is_said_in_a_sentence(capsys):
    assert main(["smoke", "http://127.0.0.1:9", "--patience", "0"]) == 2
    assert "Expected http://127.0.0.1:9/ to serve within 0 s" in capsys.readouterr().err
    assert main(["smoke", "file:///etc/passwd"]) == 2
    assert "Expected the address of a page" in capsys.readouterr().err
