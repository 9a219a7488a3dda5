"""Sizes of pictures that rules of framing are tried with."""

import random

ASPECTS = [n / 100 for n in range(30, 331, 6)]
EXACT = [(512, 512), (1024, 1024), (832, 1216), (1216, 832), (384, 640), (640, 384), (768, 1344), (448, 576), (96, 160)]
COMMON = [(1920, 1080), (1080, 1920), (2480, 3508), (3000, 2000), (4000, 6000), (800, 600), (1000, 1003), (3001, 3000)]
NARROW = [(1, 1), (1, 7), (7, 1), (1, 1000), (1000, 1), (2, 5000), (5000, 2), (63, 64), (65, 64), (127, 128)]


def picture_sizes(squares=(17, 100, 127, 128, 129, 500, 640, 1023, 1025, 2048, 5000)):
    """About 450 sizes: aspects 0.3 to 3.3 at five heights, squares, exact buckets, narrow and random ones."""
    drawn = random.Random(20_260_901)
    sizes = [(max(1, round(height * aspect)), height) for height in (90, 333, 768, 1217, 4096) for aspect in ASPECTS]
    sizes += [(side, side) for side in squares] + EXACT + COMMON + NARROW
    sizes += [(drawn.randint(20, 3000), drawn.randint(20, 3000)) for _ in range(150)]
    return list(dict.fromkeys(sizes))
