"""Draw docs/images/contact-sheet.jpg: real panoramas, each cut into four headings.

Reads the images of ../shared/data/images/streetscapes: Mapillary contributors, through NUS Global
Streetscapes, CC BY-SA 4.0. Run it as ``python docs/contact_sheet.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from streetgauge.imagery import decode, find_views, image_sources, raw_images
from streetgauge.settings import ImagerySettings

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS.parents[1] / "shared/data/images/streetscapes"
SIDE, EDGE, TOP = 180, 4, 22


def views_of_panoramas(work: Path) -> pd.DataFrame:
    """Write the manifest of the panoramas, and find their views."""
    table = pd.read_csv(IMAGES / "metadata.csv")
    panoramas = table[table["projection_type"] == "spherical"]
    manifest = work / "panoramas.csv"
    pd.DataFrame(
        {
            "path": panoramas["uuid"] + ".jpg",
            "location_id": panoramas["uuid"].str[:8],
            "heading": panoramas["heading"],
            "panorama": True,
        }
    ).to_csv(manifest, index=False)
    settings = ImagerySettings(folder=IMAGES, manifest=manifest, size=SIDE)
    views, _ = find_views(settings, panoramas["uuid"].str[:8])
    return views


def main() -> None:
    """Draw one row a location, in the order of the headings."""
    with tempfile.TemporaryDirectory() as work:
        views = views_of_panoramas(Path(work))
    rows = image_sources(views)
    names = views["location_id"].unique().tolist()
    high = TOP + len(names) * (SIDE + EDGE)
    sheet = Image.new("RGB", (4 * (SIDE + EDGE) + EDGE, high), "white")
    pen = ImageDraw.Draw(sheet)
    for column, word in enumerate(("0: north", "90: east", "180: south", "270: west")):
        pen.text((EDGE + column * (SIDE + EDGE) + 4, 5), word, fill="black")
    for (_, view), row, raw in zip(views.iterrows(), rows, raw_images(rows), strict=True):
        assert isinstance(raw, bytes)
        left = EDGE + "abcd".index(view["view"]) * (SIDE + EDGE)
        top = TOP + names.index(view["location_id"]) * (SIDE + EDGE)
        sheet.paste(Image.fromarray(np.asarray(decode(raw, row.cut))), (left, top))
    out = DOCS / "images/contact-sheet.jpg"
    sheet.save(out, quality=80)
    print(f"{len(rows)} views, {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
