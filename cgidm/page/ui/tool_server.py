"""The endpoints as tools of an MCP server: answers are JSON with a schema, pictures are addresses, errors sentences.

Gradio's own server sends the text that Python prints of a value, and of a generator's several answers one tuple.
"""

import json
from collections.abc import Callable
from typing import Any

from gradio.mcp import GradioMCPServer

Schema = dict[str, Any]
NO_ANSWER = "The tool ended without an answer."


class ToolServer(GradioMCPServer):
    """Gradio's server, with results that programs can read.

    Attributes:
        schemas: endpoint -> the names of its answers, and the JSON schema of each.
    """

    schemas: dict[str, dict[str, Schema]] = {}  # noqa: RUF012 - set once, before the page is served

    async def _execute_tool_without_progress(self, job: Any) -> list[Any]:
        """The last of a generator's answers, as the server has it: files keep their addresses."""
        async for update in job:
            if update.type == "output" and update.final:
                if not update.success:
                    output = update.outputs or {}
                    raise RuntimeError(
                        output.get("error") or output.get("title") or "The tool ended without an answer."
                    )
                return update.outputs["data"]
        raise job.exception() or RuntimeError(NO_ANSWER)

    def create_mcp_server(self) -> Any:
        """Make the server; its tools state the schema of their answers, and its results hold them."""
        server, types = super().create_mcp_server(), self.types
        handlers: dict[Any, Any] = server.request_handlers
        call, tell = handlers[types.CallToolRequest], handlers[types.ListToolsRequest]

        async def list_tools(request: Any) -> Any:
            listed: Any = await tell(request)
            for tool in listed.root.tools:
                tool.outputSchema = self._output_schema(tool.name)
            return listed

        async def call_tool(request: Any) -> Any:
            called: Any = await call(request)
            result = called.root
            if not result.isError:
                answers = [json.loads(part.text) for part in result.content]
                result.structuredContent = dict(zip(self._answers(request.params.name), answers, strict=True))
                text = json.dumps(result.structuredContent, ensure_ascii=False)
                result.content = [types.TextContent(type="text", text=text)]
            return called

        handlers[types.ListToolsRequest] = list_tools
        handlers[types.CallToolRequest] = call_tool
        return server

    def postprocess_output_data(self, data: Any, root_url: str) -> list[Any]:
        """Return each answer as JSON; of a file, its address."""
        served = _each_file(data, lambda file: f"{root_url}/gradio_api/file={file['path']}")
        return [self.types.TextContent(type="text", text=json.dumps(answer)) for answer in served]

    def _answers(self, tool: str) -> dict[str, Schema]:
        return self.schemas[self.tool_to_endpoint[tool].lstrip("/")]

    def _output_schema(self, tool: str) -> Schema:
        definitions: Schema = {}
        answers = {name: _lifted(schema, definitions) for name, schema in self._answers(tool).items()}
        return {"type": "object", "properties": answers, "required": list(answers), "$defs": definitions}


def _lifted(schema: Any, definitions: Schema) -> Any:
    """A schema without the definitions of its parts, which stand at the root of all."""
    if isinstance(schema, list):
        return [_lifted(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    definitions.update(schema.get("$defs", {}))
    return {k: _lifted(v, definitions) for k, v in schema.items() if k not in ("$defs", "$schema")}


def _each_file(value: Any, address: Callable[[dict[str, Any]], str]) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("meta"), dict) and value["meta"].get("_type") == "gradio.FileData":
            return address(value)
        return {name: _each_file(part, address) for name, part in value.items()}
    return [_each_file(part, address) for part in value] if isinstance(value, list | tuple) else value
