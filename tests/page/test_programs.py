"""Programs and agents call every endpoint by the public clients, with no more than a person would give."""

import asyncio
import base64
import json
from pathlib import Path

import jsonschema
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from cgidm.evidence.record import read_record
from cgidm.evidence.standalone.record_schema import FILE, record_schema, schema_bytes
from tests.support.page_client import PageClient
from tests.support.paths import ASSETS, SUSPECTS, pictures_of

pytestmark = pytest.mark.slow

ROLLANDIN = f"shipped:{SUSPECTS[1]}"
PICTURES = pictures_of(SUSPECTS[1], "member")[:2]
ENDPOINTS = ("inspect", "authenticate", "portfolio", "verify", "lineup")


@pytest.fixture(scope="module")
def server(small_server):
    return small_server


@pytest.fixture(scope="module")
def client(server):
    return Client(server.url, verbose=False)


@pytest.fixture(scope="module")
def judged(client):
    """The README's four lines, with a line-up."""
    return client.predict(
        picture=handle_file(PICTURES[0]), suspect=ROLLANDIN, lineup=3, steps=1, api_name="/authenticate"
    )


def tools_of(url, *calls):
    """What an agent gets: the tools, and the result of each call, in one session of the public client."""
    pytest.importorskip("mcp")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def run():
        async with streamable_http_client(f"{url}gradio_api/mcp/") as (read, write, _):
            async with ClientSession(read, write) as session:
                await session.initialize()
                tools = {t.name: t for t in (await session.list_tools()).tools}
                names = {e: next(n for n in tools if n.endswith(e)) for e in ENDPOINTS}
                results = [await session.call_tool(names[name], given) for name, given in calls]
                return {e: tools[n] for e, n in names.items()}, results

    return asyncio.run(run())


def data_address(path):
    return f"data:image/jpeg;base64,{base64.b64encode(Path(path).read_bytes()).decode()}"


def test_gradio_s_client_needs_what_a_person_would_give(client, judged):
    record, pictures, evidence = judged
    jsonschema.validate(record, record_schema())
    typed = read_record(json.dumps(record).encode(), "the answer")
    assert typed.pictures[0].name == PICTURES[0].name and typed.models.prompt == "sks style"
    assert typed.models.base == "shipped:mini" and len(typed.controls) >= 19
    assert len(pictures) == 4 and Path(evidence).is_file()
    assert client.predict(suspect=ROLLANDIN, api_name="/inspect")["kind"] == "adapter"
    both = client.predict([handle_file(p) for p in PICTURES], suspect=ROLLANDIN, steps=1, api_name="/portfolio")
    assert len(both[0]["pictures"]) == 2 and both[0]["set"] is not None


def test_gradio_s_client_checks_evidence_and_counts_choices(client, judged):
    found = client.predict(bundle=handle_file(judged[2]), api_name="/verify")
    assert found["whole"] and found["consistent"] and found["record"] == judged[0] and found["signed"] is None
    assert found["not_shown"] and not found["wrong"]
    rounds = judged[0]["lineup"]["rounds"]
    picks = ",".join(r["letter"] for r in rounds)
    chosen = client.predict(bundle=handle_file(judged[2]), picks=picks, api_name="/lineup")
    assert chosen["hits"] == len(rounds) and 0 < chosen["p_value"] <= 1
    unsigned = client.predict(bundle=handle_file(judged[2]), signer="0" * 64, api_name="/verify")
    assert unsigned["whole"] and unsigned["signed_by_given_key"] is False


def test_an_agent_calls_every_tool_with_what_a_person_would_give(server, judged):
    letters = ",".join(r["letter"] for r in judged[0]["lineup"]["rounds"])
    [upload] = PageClient(server.url).upload(Path(judged[2]))
    picture = data_address(PICTURES[0])
    few = {"suspect": ROLLANDIN, "steps": 1}
    _, results = tools_of(
        server.url,
        ("inspect", {"suspect": ROLLANDIN}),
        ("authenticate", {"picture": picture, **few}),
        ("portfolio", {"pictures": [picture, data_address(PICTURES[1])], **few}),
        ("verify", {"bundle": f"{server.url}gradio_api/file={upload['path']}"}),
        ("lineup", {"bundle": data_address(judged[2]), "picks": letters}),
    )
    for tool, result in zip(ENDPOINTS, results, strict=True):
        assert not result.isError, (tool, result.content)
        assert json.loads(result.content[0].text) == result.structuredContent
    inspected, answered, together, verified, chosen = (r.structuredContent for r in results)
    assert inspected["model"]["kind"] == "adapter"
    jsonschema.validate(answered["record"], record_schema())
    assert all(p.startswith(server.url) for p in (*answered["pictures"], answered["evidence"]))
    assert PageClient(server.url).http.get(answered["evidence"]).status_code == 200
    assert together["record"]["set"] is not None and verified["findings"]["whole"]
    assert chosen["choices"]["hits"] == len(letters.split(","))


def test_the_schemas_say_what_must_be_given_and_what_comes_back(server):
    tools, _ = tools_of(server.url)
    needed = {name: tool.inputSchema.get("required", []) for name, tool in tools.items()}
    assert needed == {
        "inspect": [],
        "authenticate": ["picture"],
        "portfolio": ["pictures"],
        "verify": ["bundle"],
        "lineup": ["bundle", "picks"],
    }
    for tool in tools.values():
        assert len(tool.description) > 40
        for name, told in tool.inputSchema["properties"].items():
            assert told["description"].rstrip().endswith((".", ")")) or len(told["description"]) < 100, name
            assert "type" in told
        jsonschema.Draft202012Validator.check_schema(tool.outputSchema)
    assert {"seed": "integer", "steps": "integer", "lineup": "integer"} == {
        name: tools["authenticate"].inputSchema["properties"][name]["type"] for name in ("seed", "steps", "lineup")
    }


def test_an_agent_is_told_in_a_sentence_what_cannot_be_done(server):
    picture = data_address(PICTURES[0])
    wrong = {
        "Expected an uploaded file": ("authenticate", {"picture": "/etc/passwd", "suspect": ROLLANDIN}),
        "public internet": ("authenticate", {"picture": "http://127.0.0.1:1/x.png", "suspect": ROLLANDIN}),
        "Expected a suspect": ("inspect", {}),
        "no zip": ("verify", {"bundle": picture}),
        "shipped:no-such": ("authenticate", {"picture": picture, "suspect": "shipped:no-such"}),
        "Expected 2 to 30 picture files": ("portfolio", {"pictures": [picture], "suspect": ROLLANDIN}),
        "not one of": ("authenticate", {"picture": picture, "suspect": ROLLANDIN, "preset": "turbo"}),
    }
    _, results = tools_of(server.url, *wrong.values())
    for words, result in zip(wrong, results, strict=True):
        said = result.content[0].text
        assert result.isError and (words in said or (words == "no zip" and "zip of evidence" in said)), said
        assert "Traceback" not in said and "Error!" not in said and len(said) < 500


def test_a_path_of_the_server_is_never_read_unless_its_operator_says_so(client):
    own = str(ASSETS / "mini" / "model_index.json")
    for given in (own, {"path": own}, {"path": own, "meta": {"_type": "gradio.FileData"}}, "~/.netrc", "file:///etc"):
        with pytest.raises((AppError, ValueError)) as caught:
            client.predict(picture=given, suspect=ROLLANDIN, api_name="/authenticate")
        assert "model_index" not in str(caught.value) or "Expected" in str(caught.value)


def test_the_schema_that_ships_is_that_of_the_record():
    assert schema_bytes() == FILE.read_bytes(), "run python -m cgidm.evidence.standalone.record_schema"
    jsonschema.Draft202012Validator.check_schema(record_schema())
    fields = [p for d in (record_schema(), *record_schema()["$defs"].values()) for p in d["properties"].values()]
    assert sum("description" in field for field in fields) > len(fields) / 2
