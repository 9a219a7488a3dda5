"""Records of runs that the page is to show, harmless and hostile, and a reader that fails on what is not the page's."""

from html.parser import HTMLParser

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "invoice\u202egpj.exe\u2066\u200f\x1b[31m\x00",
    "{n} ${alert(1)} {{value}} &lt;b&gt; ]]>",
)
TAGS = """div section figure figcaption h3 p strong span small br code ul li table thead tbody tr th td dl dt dd
    details summary progress img svg title desc line circle polygon polyline text""".split()
ATTRIBUTES = """class lang role tabindex aria-label aria-hidden scope data-head max value src alt viewbox width
    x1 y1 x2 y2 cx cy r x y points fill stroke text-anchor font-size""".split()
THUMBNAIL = "data:image/png;base64,iVBORw0KGgo="


class Reader(HTMLParser):
    """Reads HTML and fails on whatever is not ours: an element, an attribute, a tag that does not close."""

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
        assert tag in TAGS, tag
        assert set(names) <= set(ATTRIBUTES) and len(set(names)) == len(names), (tag, names)
        self.elements.append((tag, dict(attrs)))

    @property
    def text(self):
        return " ".join(self.words)


def make_record():
    """A run of two pictures against controls, as an earlier version of this program wrote it."""
    judged = picture(0.2, 1 / 21, "consistent with training on this image"), picture(-0.25, 0.8, "no evidence")
    models = {"base": "owner/base", "suspect": "owner/lora", "prompt": "sks style", "base commit": "a" * 40}
    return {
        "pictures": list(judged),
        "set": {"outcome": "no evidence", "p_value": 0.3, "reason": "Together ...", "pictures": 2, "controls": 20},
        "control_scores": [-0.3 + 0.01 * i for i in range(20)],
        "config": {"preset": "fast", "seed": 3, "loss_draws": 20, "recovery": {"steps": 40, "draws": 4}},
        "models": {**models, "careful": "It names another base.", "sha256": {"unet.safetensors": "b" * 64}},
        "versions": {"python": "3.12.12", "torch": None},
        "seed": 3,
        "seconds": 12.5,
        "stopped": None,
    }


def picture(score, p_value, outcome):
    return {
        "path": "folder/mine.png",
        "sha256": "c" * 64,
        "notes": ["transparency laid on white"],
        "scores": {"removed_cosine": 0.4, "loss_contrast": score, "clip": None, "new_score": 1.0},
        "not_computed": {"clip": "not available offline"},
        "p_value": p_value,
        "outcome": outcome,
        "reason": "A reason.",
        "flags": [],
        "contrast": [0.01 * i for i in range(30)],
    }


def raise_flag(record, name="indistinguishable"):
    for judged in (record["set"], *record["pictures"]):
        judged.update(outcome="cannot tell", p_value=None, reason="An explanation.")
    record["pictures"][0]["flags"] = [{"name": name, "raised_if": "x < 1", "explanation": "An explanation."}]
    return record


def poison(value, text, keep=()):
    """The same data with `text` for every string in it but the keys in `keep`, and as a name where names are free."""
    if isinstance(value, dict):
        poisoned = {k: v if k in keep else poison(v, text, keep) for k, v in value.items()}
        if "new_score" in value:
            return poisoned | {text: 1.0}
        return poisoned | ({text: text} if {"unet.safetensors", "python", "clip", "base"} & set(value) else {})
    if isinstance(value, list):
        return [poison(v, text, keep) for v in value]
    return text if isinstance(value, str) else value


BANK = {"name": "bank.json", "sha256": "d" * 64, "models": 8, "pictures": 10, "nulls": 20, "decoys": False}


def make_full_record(**of_set):
    """The same as it is written today: with all that a record can say."""
    record = make_record()
    used = {"low": 1, "high": 2, "bounded_above": True}
    record["set"] |= {"used": used, "adjusted": [2 / 21, 0.8], "controls": 20} | of_set
    record["config"]["views"] = ["as given", "mirrored"]
    for picture, view in zip(record["pictures"], ("mirrored", "as given"), strict=True):
        picture["view"] = view
    return record | {"power": 0.9625, "bank": None}
