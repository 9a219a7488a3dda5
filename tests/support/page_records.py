"""Records of runs that the page is to show, harmless and hostile, and a reader that fails on what is not the page's."""

from html.parser import HTMLParser

from cgidm.evidence.record import Record
from cgidm.evidence.record_json import from_json

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "invoice\u202egpj.exe\u2066\u200f\x1b[31m\x00",
    "{n} ${alert(1)} {{value}} &lt;b&gt; ]]>",
)
TAGS = """div section figure figcaption h3 p strong span small br code ul li table thead tbody tr th td dl dt dd
    details summary progress img svg title desc line circle polygon polyline text a button pre""".split()
ATTRIBUTES = """class lang role tabindex aria-label aria-hidden scope data-head max value src alt viewbox width
    x1 y1 x2 y2 cx cy r x y points fill stroke text-anchor font-size loading href download target rel type
    data-model""".split()
THUMBNAIL = "data:image/png;base64,iVBORw0KGgo="


class Reader(HTMLParser):
    """Reads HTML and fails on whatever is not ours: an element, an attribute, a tag that does not close."""

    more_tags: tuple[str, ...] = ()
    more_attributes: tuple[str, ...] = ()

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.elements = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.check(tag, attrs)
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.check(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words.append(data)

    def handle_comment(self, data):
        raise AssertionError(data)

    unknown_decl = handle_decl = handle_pi = handle_comment

    def check(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert tag in (*TAGS, *self.more_tags), tag
        assert set(names) <= {*ATTRIBUTES, *self.more_attributes} and len(set(names)) == len(names), (tag, names)
        self.elements.append((tag, dict(attrs)))

    @property
    def text(self):
        return " ".join(self.words)


def typed(record):
    """The typed record of what `make_record` makes; values of another type are refused."""
    return from_json(Record, record, "record")


def make_record():
    """A run of two pictures against controls, as JSON."""
    judged = picture(0.2, 1 / 21, "consistent with training on this image"), picture(-0.25, 0.8, "no evidence")
    config = {"preset": "fast", "seed": 3, "loss_draws": 20, "views": ["as given"], "lineup": None}
    config |= {"partial": "hashed", "start": "smooth", "encoding": "mean"}
    recovery = {"steps": 40, "draws": 4, "step_size": None, "radius": None, "t_min": 0, "t_max": None}
    recovery |= {"t_sampling": "uniform", "noise": "fresh", "min_gradient_ratio": 0.001, "rows_per_call": 8}
    machine = {"device": "cpu", "device_name": "x86", "precision": "float32", "threads": 2, "system": "Linux"}
    return {
        "format": 2,
        "date": "2026-11-25T21:32:42+00:00",
        "pictures": list(judged),
        "set": {
            "outcome": "no evidence",
            "p_value": 0.3,
            "reason": a_note(),
            "pictures": 2,
            "controls": 20,
            "used": None,
            "adjusted": [],
        },
        "judged_by": "loss_contrast",
        "level": 0.05,
        "control_scores": [-0.3 + 0.01 * i for i in range(20)],
        "bank": None,
        "expected_power": None,
        "lineup": None,
        "weight_distance": None,
        "controls": [],
        "config": config | {"recovery": recovery},
        "models": {
            "base": "owner/base",
            "suspect": "owner/lora",
            "prompt": "sks style",
            "embeddings": [],
            "commits": {"base": "a" * 40},
            "unrelated": None,
            "unrelated_sha256": None,
            "configuration": None,
            "warning": a_note("It names another base."),
            "remarks": [{"code": "intake.averages_beside", "params": {"files": ["unet_ema"]}}],
            "sha256": {"unet.safetensors": "b" * 64},
        },
        "code": {"version": "0.1.0", "sha256": "e" * 64},
        "versions": {"python": "3.12.12", "torch": None},
        "machine": machine,
        "seconds": 12.5,
        "stopped": None,
    }


def a_note(text="A reason."):
    """A note whose sentence no table has."""
    return {"code": "evidence.text", "params": {"text": text}}


def picture(score, p_value, outcome):
    return {
        "name": "folder/mine.png",
        "sha256": "c" * 64,
        "notes": [{"code": "pictures.transparency_on_white", "params": {}}],
        "scores": {"removed_cosine": 0.4, "loss_contrast": score, "clip": None, "new_score": 1.0},
        "not_computed": {"clip": a_note("not available offline")},
        "p_value": p_value,
        "outcome": outcome,
        "reason": a_note(),
        "flags": [],
        "view": "as given",
        "distance_from_base": 0.1,
        "contrast": [0.01 * i for i in range(30)],
    }


def raise_flag(record, code="judging.flag.indistinguishable", **params):
    for judged in (record["set"], *record["pictures"]):
        judged.update(outcome="cannot tell", p_value=None, reason={"code": code, "params": params})
    note = {"code": code, "params": params}
    record["pictures"][0]["flags"] = [{"name": code.split(".")[-1], "note": note, "blocks_verdict": True}]
    return record


def poison(value, text, keep=()):
    """The same data with `text` for every string in it but the keys in `keep`, and as a name where names are free."""
    if isinstance(value, dict):
        poisoned = {k: v if k in keep else poison(v, text, keep) for k, v in value.items()}
        if "new_score" in value:
            return poisoned | {text: 1.0}
        if isinstance(value.get("clip"), dict):
            return poisoned | {text: {"code": text, "params": {text: text}}}
        free = {"unet.safetensors", "python", "text"} & set(value) or set(value) == {"base"}
        return poisoned | ({text: text} if free else {})
    if isinstance(value, list):
        return [poison(v, text, keep) for v in value]
    return text if isinstance(value, str) else value


BANK = {
    "name": "bank.json",
    "sha256": "d" * 64,
    "models": 8,
    "pictures": 10,
    "nulls": 20,
    "decoys": False,
    "recipe": {},
}


def make_full_record(**of_set):
    """The same with all that a record can say."""
    record = make_record()
    used = {"low": 1, "high": 2, "bounded_above": True}
    record["set"] |= {"used": used, "adjusted": [2 / 21, 0.8], "adjusted_bh": [0.04, 0.8]} | of_set
    record["config"]["views"] = ["as given", "mirrored"]
    for picture, view in zip(record["pictures"], ("mirrored", "as given"), strict=True):
        picture["view"] = view
    return record | {"expected_power": 0.9625}
