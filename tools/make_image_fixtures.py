#!/usr/bin/env python3
"""Makes tests/fixtures/images: small pictures in every form that is read, what Pillow decodes of them, and what
it makes of a picture at other sizes. Needs Pillow and NumPy.

    python tools/make_image_fixtures.py
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

OUT = Path(__file__).resolve().parent.parent / "tests/fixtures/images"


def pattern(height, width, channels, seed):
    """Smooth colours with some noise: what JPEG and WebP keep well."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 90 * np.sin((x + 2 * c) / 5 + y / (4 + c)) for c in range(channels)]
    noise = rng.integers(-8, 9, (height, width, channels))
    return (np.stack(planes, -1) + noise).clip(0, 255).astype(np.uint8)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    colour = Image.fromarray(pattern(6, 9, 3, 1))
    grey = Image.fromarray(pattern(6, 9, 1, 2)[..., 0])
    alpha = Image.fromarray(np.concatenate([np.asarray(colour), pattern(6, 9, 1, 3)], -1), "RGBA")
    deep = (pattern(6, 9, 1, 4)[..., 0].astype(np.uint16) << 8) + 77
    smooth = Image.fromarray(pattern(8, 12, 3, 5))
    turned = Image.Exif()
    turned[0x0112] = 6
    saved = {
        "colour.png": (colour, {}),
        "grey.png": (grey, {}),
        "alpha.png": (alpha, {}),
        "palette.png": (colour.quantize(16), {}),
        "colour.bmp": (colour, {}),
        "colour.jpg": (smooth, {"quality": 95, "subsampling": 0}),
        "grey.jpeg": (smooth.convert("L"), {"quality": 95}),
        "cmyk.jpg": (smooth.convert("CMYK"), {"quality": 95}),
        "turned.jpg": (smooth, {"quality": 95, "subsampling": 0, "exif": turned}),
        "lossless.webp": (colour, {"lossless": True}),
        "lossy.webp": (smooth, {"quality": 90}),
        "two.gif": (
            colour.quantize(16),
            {"save_all": True, "append_images": [colour.rotate(180).quantize(16)]},
        ),
    }
    pictures = {}
    for name, (picture, options) in saved.items():
        picture.save(OUT / name, **options)
        with Image.open(OUT / name) as found:
            found.seek(0)
            seen = ImageOps.exif_transpose(found).convert("RGB")
        pictures[name] = {
            "size": [seen.height, seen.width],
            "rgb": seen.tobytes().hex(),
        }
        if name.startswith("colour"):
            pictures[name]["grey"] = seen.convert("L").tobytes().hex()
    Image.fromarray(deep).save(OUT / "deep.png")
    eight = np.rint(deep / 257).astype(np.uint8)
    pictures["deep.png"] = {
        "size": [6, 9],
        "rgb": np.repeat(eight, 3).tobytes().hex(),
        "grey": eight.tobytes().hex(),
    }
    source = Image.fromarray(np.random.default_rng(6).integers(0, 256, (9, 13, 3), np.uint8))
    sizes = [(5, 4), (14, 17), (1, 1), (3, 17), (9, 5)]
    resized = {
        f"{height}x{width}": source.resize((width, height), Image.BILINEAR).tobytes().hex()
        for height, width in sizes
    }
    whole = {"pictures": pictures, "source": source.tobytes().hex(), "resized": resized}
    (OUT / "expected.json").write_text(json.dumps(whole, indent=0) + "\n")


if __name__ == "__main__":
    main()
