"""Tables of scores whose worth is known."""

import itertools

import numpy as np
import pandas as pd

CGIDM = ("cgidm", "removed_alignment")


def crossed(score, cell=CGIDM, *, concepts=6, seed=0, **others):
    """A crossed design: `score(member, noise)` of every decision, noise standard normal."""
    noise = np.random.default_rng(seed)
    fixed = {"dataset": "wikiart", "role": "trained", "training": "lora", "evaluations": 60} | others
    return pd.DataFrame(
        fixed
        | {
            "concept": f"c{c}",
            "suspect": f"c{c}/{half}",
            "picture": f"{p}.jpg",
            "member": (p + half) % 2,
            "method": cell[0],
            "measure": cell[1],
            "score": float(score((p + half) % 2, noise.normal())),
        }
        for c, half, p in itertools.product(range(concepts), range(2), range(6))
    )


def perfect(member, noise):
    return 10 * member + noise


def coin(member, noise):
    return noise


def crossed_with_ease(rng, concepts=6, pictures=16, shift=1.0, difficulty=3.0):
    """Scores = the picture's difficulty + noise, and `shift` where it is a member; each picture in both roles."""
    rows = []
    for c in range(concepts):
        for p in range(pictures):
            ease = rng.normal() * difficulty
            for half in "ab":
                member = int((p % 2 == 0) == (half == "a"))
                score = ease + rng.normal() * 0.3 + shift * member
                rows.append((f"c{c}", f"c{c}-{half}", f"{p:02d}.jpg", member, score))
    return pd.DataFrame(rows, columns=["concept", "suspect", "picture", "member", "score"])


def score_sets(count, seed):
    """2 to 600 decisions each: scores often tied, all different, all equal, a rounding error apart, perfect."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        member = rng.permutation(np.repeat([1, 0], rng.integers(1, rng.choice([3, 20, 300]), size=2)))
        noise = rng.normal(size=len(member)) + member * rng.choice([-1, 0, 1])
        score = (np.round(noise), np.round(noise, 1), noise, noise * 0 + 1, 1 + np.round(noise) * 2**-52, member)[i % 6]
        yield pd.DataFrame({"member": member, "score": score.astype(float)})
