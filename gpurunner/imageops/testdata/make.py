"""Makes the pictures of this folder and, beside each, what Pillow reads in it: python make.py (Pillow 13.0.0)."""
import io
import os

import numpy as np
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))


def picture(w, h):
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    a = np.stack([127 + 120 * np.sin(x / 3 + c) * np.cos(y / (4 + c)) for c in range(3)], -1)
    a[(x - w / 2) ** 2 + (y - h / 2) ** 2 < 36] = (250, 20, 90)
    return np.clip(a, 0, 255).round().astype(np.uint8)


def put(name, im, **kw):
    b = io.BytesIO()
    im.save(b, os.path.splitext(name)[1][1:].replace("jpg", "jpeg"), **kw)
    open(os.path.join(here, name), "wb").write(b.getvalue())
    Image.open(b).convert("RGB").save(os.path.join(here, name + ".png"), optimize=True)


def exif(n):
    e = Image.Exif()
    e[0x0112] = n
    return e


im = Image.fromarray(picture(37, 23))
put("lossy_37x23.webp", im, quality=70)
put("lossy_36x24.webp", Image.fromarray(picture(36, 24)), quality=40)
put("lossless.webp", im, lossless=True)
rgba = Image.fromarray(np.dstack([picture(21, 18), np.mgrid[0:18, 0:21][1].astype(np.uint8) * 12]))
put("lossy_alpha.webp", rgba, quality=80)
put("orientation8.webp", im, lossless=True, exif=exif(8))
put("orientation3.png", im, exif=exif(3))
put("sub422.jpg", im, quality=85, subsampling="4:2:2")
put("sub420_3x3.jpg", Image.fromarray(picture(3, 3)), quality=90)
put("sub420_33x17.jpg", Image.fromarray(picture(33, 17)), quality=60)
put("progressive420.jpg", im, quality=80, progressive=True)
put("restart.jpg", im, quality=80, restart_marker_blocks=2)
put("gray.jpg", im.convert("L"), quality=75)
put("cmyk_progressive.jpg", im.convert("CMYK"), quality=75, progressive=True)
