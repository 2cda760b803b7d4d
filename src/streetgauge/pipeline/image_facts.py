"""What is known of a study's images as a whole: whose they are, of when, and how good."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from streetgauge.io.files import read_metadata
from streetgauge.settings import ImageFeatures, OpenImagery
from streetgauge.study import Study

__all__ = ["picture_facts"]


def picture_facts(study: Study) -> dict[str, Any]:
    """Gather what the report says of the images.

    Returns
    -------
    dict
        Empty if the study looks at none. Else ``views`` (how many a location has at most),
        ``licence`` and ``attribution`` (None if not known), ``credits`` (of open imagery:
        ``line``, ``licence``, ``licence_url`` of each source), ``captured`` (first and last year,
        or None), ``n`` (images that were looked at), ``found`` (how many have which fault) and
        ``exclude`` (the faults with which none was used), and ``weights`` (``backbone``,
        ``licence`` and ``sha256`` of the network that looked at them).
    """
    from streetgauge.features import FeatureStore

    settings, imagery = study.settings, study.settings.imagery
    if not isinstance(settings.features, ImageFeatures) or imagery is None:
        return {}
    store = FeatureStore.open(study.features).attributes
    facts: dict[str, Any] = {
        "weights": {
            "backbone": store["backbone"],
            "licence": store.get("licence", ""),
            "sha256": store.get("weights_sha256", ""),
        },
        "views": len(imagery.views),
        **settings.image_rights,
        "credits": [],
        "captured": None,
        "n": 0,
        "found": {},
        "exclude": list(imagery.exclude),
    }
    if isinstance(imagery, OpenImagery) and study.images.exists():
        facts["credits"] = read_metadata(study.images).get("credits", [])
        taken = pd.to_datetime(pd.read_parquet(study.images)["captured_at"], utc=True).dropna()
        if len(taken):
            facts["captured"] = (int(taken.min().year), int(taken.max().year))
    try:
        found = pd.read_parquet(study.quality, columns=["finding"])["finding"]
    except (OSError, ValueError, pa.ArrowException):  # of a study that knew no such list
        return facts
    counts = found[found != ""].value_counts()
    return facts | {"n": len(found), "found": {str(k): int(n) for k, n in counts.items()}}
