"""Locations -> images of open street imagery, for studies that have none of their own."""

from __future__ import annotations

import shutil

from streetgauge.io.files import read_table, write_table
from streetgauge.progress import Progress
from streetgauge.settings import OpenImagery
from streetgauge.skips import describe_skips
from streetgauge.study import Done, Study

_WORK = ".images"


def collect(study: Study, key: str, progress: Progress) -> Done:
    """Search for and fetch the images of all locations, with licence and attribution."""
    from streetgauge.imagery.open_street import collect_images, credits_of

    imagery = study.settings.imagery
    assert isinstance(imagery, OpenImagery)  # else this stage makes nothing, and is not run
    locations = read_table(study.locations)
    work = study.path(_WORK)
    found = collect_images(imagery, locations, study.image_folder, work, progress=progress)
    images, skips, retryable = found
    credits = credits_of(images)
    write_table(images, study.images, {"credits": credits})
    if not retryable:
        forget_answers(study)
    locations_with, files = images["location_id"].nunique(), images["image_id"].nunique()
    line = f"{files:,} images for {len(images):,} views of {locations_with:,} locations"
    later = (f"{retryable:,} could not be had now: the next run asks again",) if retryable else ()
    lines = (line, *(each["line"] for each in credits), *describe_skips(skips), *later)
    return Done(lines, skips, retryable=bool(retryable))


def forget_answers(study: Study) -> None:
    """Remove what the service answered, so that all is searched for again."""
    shutil.rmtree(study.path(_WORK), ignore_errors=True)
