"""The offline benchmark, studies with a committed result, and the recipes of everything that ships in `assets/`."""

from pathlib import Path

from cgidm.messages import add_messages

add_messages(Path(__file__).parent / "messages")
