"""A record and its pictures -> one HTML page that needs nothing else."""

import base64
import html
from pathlib import Path
from typing import Any

CAVEAT = (
    "This is statistical evidence with the stated error rate. “No evidence” does not mean that the picture was never "
    "used. Whatever the outcome, look at the scores and the control pictures, not at the recovered picture alone."
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1b2430}"
    "section{border-top:1px solid #ccd;padding:1em 0}img{width:30%;margin-right:2%;image-rendering:pixelated}"
    "table{border-collapse:collapse}td,th{padding:.2em 1em .2em 0;text-align:left;vertical-align:top}"
    "small{overflow-wrap:anywhere}"
)


def report_html(record: dict[str, Any], folder: Path) -> str:
    """The report of a run whose PNGs lie in `folder`; every text that came from outside is escaped."""
    config, models = record["config"], record["models"]
    given = _rows({k: v for k, v in models.items() if k != "sha256"})
    files = _rows(models["sha256"])
    together = record["set"]
    answer = "" if together is None else f"<section><h2>All together</h2>{_answer(together)}</section>"
    pictures = "".join(_picture(number, p, folder) for number, p in enumerate(record["pictures"]))
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>CGI-DM report</title>"
        f"<style>{STYLE}</style><h1>Was this picture used to train that model?</h1><p>{CAVEAT}</p>{answer}{pictures}"
        f"<section><h2>The run</h2><table>{given}</table>"
        f"<p>{len(record['control_scores'])} control pictures; preset {_text(config['preset'])}, "
        f"seed {_text(config['seed'])}, {_text(config['recovery']['steps'])} steps</p>"
        f"<h3>Weights, SHA-256</h3><small><table>{files}</table></small></section></html>"
    )


def _picture(number: int, picture: dict[str, Any], folder: Path) -> str:
    images = "".join(
        f"<img alt='{role}' title='{role}' src='data:image/png;base64,{_base64(folder / f'{number:02d}-{role}.png')}'>"
        for role in ("original", "partial", "recovered")
    )
    scores = {
        k: f"{v:.4f}" if v is not None else picture["not_computed"].get(k, "") for k, v in picture["scores"].items()
    }
    flags = "".join(f"<p>Flag {_text(f['name'])}: {_text(f['explanation'])}</p>" for f in picture["flags"])
    notes = "".join(f"<li>{_text(note)}</li>" for note in picture["notes"])
    return (
        f"<section><h2>{_text(picture['path'])}</h2><p>Original, partial, recovered:</p>{images}"
        f"{_answer(picture)}{flags}<table>{_rows(scores)}</table><ul>{notes}</ul>"
        f"<small>SHA-256 {_text(picture['sha256'])}</small></section>"
    )


def _answer(judged: dict[str, Any]) -> str:
    p = "" if judged["p_value"] is None else f" (p = {judged['p_value']:.3f})"
    return f"<p><b>{_text(judged['outcome'])}</b>{p}: {_text(judged['reason'])}</p>"


def _rows(table: dict[str, Any]) -> str:
    return "".join(f"<tr><th>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in table.items())


def _text(value: Any) -> str:
    return html.escape(str(value))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
