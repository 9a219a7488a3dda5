"""The trainers' own arithmetic, step by step, in numpy's and Python's roundings: what `cgidm.framing` must agree with.

Each function follows one trainer's public source, which its docstring names, and returns (scaled, corner, size), as
width and height, or None where the trainer fails. Nothing here is taken from `cgidm`.
"""

import math

import numpy as np

WIDE_1024 = (
    "2048x512 1984x512 1920x512 1856x512 1792x576 1728x576 1664x576 1600x640 1536x640 1472x704 1408x704 1344x704 "
    "1344x768 1280x768 1216x832 1152x832 1152x896 1088x896 1088x960 1024x960"
)
TALL_1024 = (
    "960x1024 960x1088 896x1088 896x1152 832x1152 832x1216 768x1280 768x1344 704x1408 704x1472 640x1536 640x1600 "
    "576x1664 576x1728 576x1792 512x1856 512x1920 512x1984 512x2048"
)


def kohya_buckets(resolution, least, most, step):
    """sd-scripts, `adjust_min_max_bucket_reso_by_steps`, then `make_bucket_resolutions`."""
    if least % step != 0:
        least = least - least % step
    if most % step != 0:
        most = most + step - most % step
    area = resolution[0] * resolution[1]
    side = int(math.sqrt(area) // step) * step
    found = {(side, side)}
    w = least
    while w <= most:
        h = min(most, int((area // w) // step) * step)
        if h >= least:
            found.add((w, h))
            found.add((h, w))
        w += step
    return sorted(found)


def kohya(width, height, buckets):
    """sd-scripts, `BucketManager.select_bucket` with a list of buckets, then `trim_and_resize_if_required`."""
    aspect = width / height
    bucket = (width, height)
    if bucket not in set(buckets):
        errors = np.array([w / h for w, h in buckets]) - aspect
        bucket = buckets[int(np.abs(errors).argmin())]
    if aspect > bucket[0] / bucket[1]:
        scale = bucket[1] / height
    else:
        scale = bucket[0] / width
    return kohya_trim((int(width * scale + 0.5), int(height * scale + 0.5)), bucket)


def kohya_shrunk(width, height, resolution, step):
    """sd-scripts, `BucketManager.select_bucket` with `no_upscale`, then `trim_and_resize_if_required`."""

    def to_step(x):
        x = int(x + 0.5)
        return x - x % step

    area = resolution[0] * resolution[1]
    aspect = width / height
    scaled = (width, height)
    try:
        if width * height > area:
            exact_width = math.sqrt(area * aspect)
            exact_height = area / exact_width
            w_rounded = to_step(exact_width)
            h_for_w = to_step(w_rounded / aspect)
            aspect_w = w_rounded / h_for_w
            h_rounded = to_step(exact_height)
            w_for_h = to_step(h_rounded * aspect)
            aspect_h = w_for_h / h_rounded
            if abs(aspect_w - aspect) < abs(aspect_h - aspect):
                scaled = (w_rounded, int(w_rounded / aspect + 0.5))
            else:
                scaled = (int(h_rounded * aspect + 0.5), h_rounded)
        bucket = (scaled[0] - scaled[0] % step, scaled[1] - scaled[1] % step)
        assert bucket[0] > 0 and bucket[0] / bucket[1] > 0
    except (ZeroDivisionError, AssertionError):
        return None
    return kohya_trim(scaled, bucket)


def kohya_trim(scaled, bucket):
    corner = []
    for axis in (0, 1):
        over = scaled[axis] - bucket[axis]
        assert over >= 0
        corner.append(over // 2 if over > 0 else 0)
    return scaled, tuple(corner), bucket


def musubi_buckets(resolution, step):
    """musubi-tuner, `BucketSelector.__init__`."""
    area = resolution[0] * resolution[1]
    root = int(math.sqrt(area))
    start = root // 2
    start = start - start % step
    found = []
    for w in range(start, root + step, step):
        h = area // w
        h = h - h % step
        found.append((w, h))
        found.append((h, w))
    return sorted(set(found))


def musubi(width, height, buckets, area, step, no_upscale=False):
    """musubi-tuner, `BucketSelector.get_bucket_resolution`, then `resize_image_to_bucket`."""
    if no_upscale and width * height <= area:
        bucket = (width - width % step, height - height % step)
        if 0 in bucket:
            return None
    else:
        errors = np.array([w / h for w, h in buckets]) - width / height
        bucket = buckets[int(np.abs(errors).argmin())]
    if bucket == (width, height):
        return bucket, (0, 0), bucket
    scale = max(bucket[0] / width, bucket[1] / height)
    scaled = (int(width * scale + 0.5), int(height * scale + 0.5))
    return scaled, ((scaled[0] - bucket[0]) // 2, (scaled[1] - bucket[1]) // 2), bucket


def one_trainer_buckets(resolution, step):
    """mgds, `AspectBucketing.__create_automatic_buckets`; as height, width."""
    inputs = [(1.0, a) for a in (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)]
    sized = [(h / math.sqrt(h * w) * resolution, w / math.sqrt(h * w) * resolution) for h, w in inputs]
    sized = sized + [(w, h) for h, w in sized]
    return list(set([(round(h / step) * step, round(w / step) * step) for h, w in sized]))


def one_trainer(width, height, buckets):
    """mgds, `AspectBucketing.get_item`, then `ScaleCropImage.get_item` without jitter; buckets as height, width."""
    aspects = np.array([h / w for h, w in buckets])
    bucket = buckets[int(np.argmin(abs(aspects - height / width)))]
    if height / width > bucket[0] / bucket[1]:
        scaled = (round(height * (bucket[1] / width)), bucket[1])
    else:
        scaled = (bucket[0], round(width * (bucket[0] / height)))
    top, left = (scaled[0] - bucket[0]) // 2, (scaled[1] - bucket[1]) // 2
    return (scaled[1], scaled[0]), (left, top), (bucket[1], bucket[0])


def ai_toolkit(width, height, resolution, step):
    """ai-toolkit, `get_bucket_for_image_size`, then `BucketsMixin.setup_buckets`."""
    base = [(1024, 1024)]
    base += [tuple(map(int, t.split("x"))) for t in (WIDE_1024 + " " + TALL_1024 + " 8192x128 128x8192").split()]
    resolution = min(resolution, int((width * height) ** 0.5))
    sizes = []
    for w, h in base:
        w, h = int(w * (resolution / 1024)), int(h * (resolution / 1024))
        sizes.append((w - w % step, h - h % step))
    closest, fewest = (0, 0), float("inf")
    for w, h in sizes:
        if (w, h) == (width, height):
            closest = (w, h)
            break
    else:
        for w, h in sizes:
            scale = max(w / width, h / height)
            new_w, new_h = int(width * scale), int(height * scale)
            removed = (new_w - w) * new_h + (new_h - h) * new_w
            if removed < fewest:
                closest, fewest = (w, h), removed
    if 0 in closest:
        return None
    scale = max(closest[0] / width, closest[1] / height)
    scaled = (math.ceil(width * scale), math.ceil(height * scale))
    return scaled, tuple(int((s - c) / 2) for s, c in zip(scaled, closest, strict=True)), closest


def ai_toolkit_square(width, height, resolution):
    """ai-toolkit, `BucketsMixin.setup_buckets` with `square_crop`."""
    scale = max(resolution / width, resolution / height)
    scaled = (math.ceil(width * scale), math.ceil(height * scale))
    if width > height:
        corner = (int(scaled[0] / 2 - resolution / 2), 0)
    else:
        corner = (0, int(scaled[1] / 2 - resolution / 2))
    return scaled, corner, (resolution, resolution)


def simple_tuner(width, height, resolution, unit, step, square=False):
    """SimpleTuner, `TrainingSample.calculate_target_size` and its helpers, then `CenterCropping.crop`."""

    def multiple(value):
        return max(int(round(value / step) * step), step)

    if unit == "pixel_area":
        resolution, unit = (resolution * resolution) / (1000**2), "area"
    if unit == "pixel":
        pixel_resolution = int(resolution)
    else:
        area = next(
            (a for k, a in ((0.25, 512**2), (0.5, 768**2), (1.0, 1024**2), (2.0, 1536**2), (4.0, 2048**2))
             if abs(resolution - k) < 0.05),
            resolution * 1e6,
        )  # fmt: skip
        pixel_resolution = int(multiple(math.sqrt(area)))

    def by_edge(aspect):
        if width < height:
            w, h = resolution, int(resolution / aspect)
        else:
            w, h = int(resolution * aspect), resolution
        target = (multiple(w), multiple(h))
        if w < target[0] or h < target[1]:
            more = max(target[0] - w, target[1] - h)
            w, h = w + more, h + more
        return target, (w, h)

    def by_area(aspect):
        edge = multiple(int(math.sqrt(resolution * 1e6)))
        if aspect == 1.0:
            return (edge, edge), ((edge, edge) if width == height else (width, height))
        target = (multiple(edge * math.sqrt(aspect)), multiple(edge / math.sqrt(aspect)))
        if target[0] < target[1]:
            w, h = target[0], int(target[0] / aspect)
        else:
            w, h = int(target[1] * aspect), target[1]
        if target[0] > w or target[1] > h:
            if target[0] > w:
                w_more = target[0] - w
                h_more = int(w_more / aspect)
            else:
                h_more = target[1] - h
                w_more = int(h_more * aspect)
            w, h = w + w_more, h + h_more
        return target, (w, h)

    calculate = by_edge if unit == "pixel" else by_area
    aspect = round(width / height, 2)
    try:
        target, between = calculate(1.0 if square else aspect)
    except ZeroDivisionError:
        return None
    if square:
        target, aspect = (pixel_resolution, pixel_resolution), 1.0
    else:
        aspect = round(target[0] / target[1], 2)
    if aspect == 1.0 and between[0] < pixel_resolution:
        between = (pixel_resolution, pixel_resolution)
    if aspect == 1.0:
        target = (pixel_resolution, pixel_resolution)
    corner = tuple(max(0, int((b - t) / 2)) for b, t in zip(between, target, strict=True))
    size = tuple(min(t, b - c) for t, b, c in zip(target, between, corner, strict=True))
    return between, corner, size


def diffusers(width, height, resolution):
    """torchvision, `Resize(int)` and `CenterCrop(int)`, as the scripts of diffusers use them."""
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = resolution, int(resolution * long / short)
    scaled = (new_short, new_long) if width <= height else (new_long, new_short)
    top = round((scaled[1] - resolution) / 2.0)
    left = round((scaled[0] - resolution) / 2.0)
    return scaled, (left, top), (resolution, resolution)
