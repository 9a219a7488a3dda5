"""Rows for a ledger."""

from dataclasses import replace

from eval.benchmark.ledger import Row

ROW = Row("k", "pets", "trained", "dogs", "dogs-a", "lora", "1.jpg", 1, "loss", "contrast", 40, 0.25)


def rows(unit, size=8):
    return [
        replace(ROW, key=f"{unit}-{i}", concept=f"c{unit:03d}", picture=f"{i}.jpg", score=i / 7) for i in range(size)
    ]
