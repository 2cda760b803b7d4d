"""The images of the page: which are shown, as thumbnails, and in how many bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

__all__ = [
    "Gallery",
    "Group",
    "Heat",
    "LocationImages",
    "Shot",
    "compose",
    "extremes",
    "heat",
    "thumbnail",
]
__all__ += ["KINDS", "typical"]

Pixels = npt.NDArray[np.uint8]

KINDS = ("highest", "median", "lowest")
SIDE = 160  # pixels of a thumbnail's longer side
SIDE_OF_AREA = 96
VIEWS = 4  # images of a location, at most
FOR_OUTCOMES = 0.6  # of the bytes; what they leave is the areas'
# Orange and blue are distinguished by everybody, and neither is a usual colour of streets.
RAISES, LOWERS = (0, 92, 230), (235, 110, 0)
OPAQUE = 205  # of 255, where the effect is largest


@dataclass(frozen=True)
class Heat:
    """What moved the score, to be drawn over a thumbnail: an image and its position in pixels."""

    src: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Shot:
    """An image on the page.

    Parameters
    ----------
    location, view : str
        Whose.
    src : str
        A data URI.
    width, height : int
        Pixels.
    licence : str
        Never empty: what has none is not shown.
    attribution, url : str
        Whom to name, and where the image comes from; empty if not known.
    heat : Heat, optional
        What in it moved the score.
    """

    location: str
    view: str
    src: str
    width: int
    height: int
    licence: str
    attribution: str = ""
    url: str = ""
    heat: Heat | None = None

    def __post_init__(self) -> None:
        if not self.licence.strip():
            raise ValueError(f"view {self.view!r} of {self.location!r} has no licence")

    @property
    def credit(self) -> str:
        """Whom it is by, and what allows showing it, in one line."""
        return ", ".join(part for part in (self.attribution, self.licence) if part)

    @property
    def link(self) -> str:
        """Where it comes from, if that is an address of the web."""
        return self.url if self.url.startswith(("https://", "http://")) else ""

    @property
    def size(self) -> int:
        """Bytes that it adds to the page."""
        return len(self.src) + (len(self.heat.src) if self.heat else 0) + 200


@dataclass(frozen=True)
class LocationImages:
    """A location on the page: what was predicted of it, what is true of its area, its images."""

    location: str
    area: str
    score: float
    decile: int
    actual: int | None
    shots: tuple[Shot, ...] = ()

    def credits(self) -> list[tuple[str, str]]:
        """Whom to name, each once, with the address of the first image."""
        found: dict[str, str] = {}
        for shot in self.shots:
            found.setdefault(shot.credit, shot.link)
        return list(found.items())


@dataclass(frozen=True)
class Group:
    """Locations of the highest, of the median or of the lowest scores."""

    kind: str
    locations: tuple[LocationImages, ...]


@dataclass(frozen=True)
class Gallery:
    """All images of the page.

    Parameters
    ----------
    outcomes : mapping of outcome to groups
        In the order of `KINDS`.
    areas : mapping of area to shots
        For their cards.
    largest : mapping of outcome to float
        The effect on the score that full colour stands for, where effects are drawn.
    note : str
        Why there are none, or not all; empty if there is nothing to note.
    """

    outcomes: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    areas: Mapping[str, tuple[Shot, ...]] = field(default_factory=dict)
    largest: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def cards(self) -> dict[str, list[dict[str, str]]]:
        """Give the areas' images as their cards show them."""
        return {
            area: [
                {
                    "src": shot.src,
                    "alt": f"View {shot.view} of location {shot.location}",
                    "title": f"{shot.location}, view {shot.view}: {shot.credit}",
                }
                for shot in shots
            ]
            for area, shots in self.areas.items()
        }

    def shots(self) -> list[Shot]:
        """Give all images, also those of the cards."""
        groups = [group for each in self.outcomes.values() for group in each]
        of_outcomes = [s for g in groups for location in g.locations for s in location.shots]
        return of_outcomes + [shot for each in self.areas.values() for shot in each]

    def summary(self) -> str:
        """Count the images, or give the reason why there are none."""
        count = len(self.shots())
        return f"{count:,} images shown" if count else self.note

    def credits(self) -> list[str]:
        """Whom to name for all of them, each once; sorted."""
        return sorted({shot.credit for shot in self.shots()})


def extremes(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Choose the locations of the highest, the median and the lowest scores of each outcome.

    Of an area one location is chosen at most: neighbours resemble each other, and are often
    seen in the same images.

    Parameters
    ----------
    predictions : DataFrame
        ``location_id``, ``area``, ``outcome``, ``score``, ``decile``, ``actual_decile``; of
        locations that may be shown. In any order.
    count : int
        Of each kind.

    Returns
    -------
    DataFrame
        ``outcome``, ``kind``, ``rank`` (0..), and the columns of `predictions`. A location is
        chosen once for an outcome; where there are few, fewer are chosen.
    """
    chosen = []
    for _, rows in predictions.sort_values(["outcome", "location_id"]).groupby("outcome"):
        rows = rows.sort_values(["score", "location_id"], ignore_index=True)
        position = np.arange(len(rows))
        orders = {
            "highest": position[::-1],
            "lowest": position,
            "median": np.argsort(np.abs(position - (len(rows) - 1) / 2), kind="stable"),
        }
        taken: set[int] = set()
        for kind, order in orders.items():
            one_each = rows.loc[[at for at in order if at not in taken]].drop_duplicates("area")
            picked = one_each.head(count)
            taken |= set(picked.index)
            chosen.append(picked.assign(kind=kind, rank=np.arange(len(picked))))
    if not chosen:
        return predictions.assign(kind="", rank=0).head(0)
    frame = pd.concat(chosen)
    frame["kind"] = pd.Categorical(frame["kind"], KINDS, ordered=True)
    return frame.sort_values(["outcome", "kind", "rank"], ignore_index=True)


def typical(predictions: pd.DataFrame, areas: Sequence[str], count: int) -> pd.DataFrame:
    """Choose the locations of areas that are most like their area's mean.

    Parameters
    ----------
    predictions : DataFrame
        ``location_id``, ``area``, ``outcome``, ``score``.
    areas : sequence of str
        In the order in which they should get an image.
    count : int
        Locations of an area.

    Returns
    -------
    DataFrame
        ``area``, ``location_id``, ``rank``: first the first location of each area, in their
        order, then the second.
    """
    scores = predictions["score"] / predictions.groupby("outcome")["score"].transform("std")
    keyed = predictions.assign(score=scores)
    mean = keyed.groupby(["outcome", "area"])["score"].transform("mean")
    far = keyed.assign(far=(keyed["score"] - mean).abs().fillna(0).round(9))
    mean_far = far.groupby(["area", "location_id"])["far"].mean()
    each: pd.DataFrame = mean_far.to_frame("far").reset_index()
    each = each.sort_values(["area", "far", "location_id"], ignore_index=True)
    each["rank"] = each.groupby("area").cumcount()
    order = {area: i for i, area in enumerate(areas)}
    each = each[(each["rank"] < count) & each["area"].isin(order)]
    each["order"] = each["area"].map(order)
    wanted: pd.DataFrame = each.sort_values(["rank", "order"], ignore_index=True)
    return wanted[["area", "location_id", "rank"]]


def thumbnail(pixels: Pixels, side: int = SIDE) -> tuple[str, int, int]:
    """Make a small JPEG of an image, with nothing in it but pixels.

    Parameters
    ----------
    pixels : array of uint8, [height, width, 3]
    side : int
        Pixels of the longer side of the thumbnail.

    Returns
    -------
    src : str
        A data URI; the same for the same image.
    width, height : int
        Of the thumbnail.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=70, optimize=True, subsampling="4:2:0")
    return _uri("jpeg", content.getvalue()), image.width, image.height


def heat(
    effects: npt.NDArray[np.floating],
    largest: float,
    shown: tuple[int, int],
    seen: float | None,
) -> Heat:
    """Draw what moved the score, to be laid over a thumbnail.

    Parameters
    ----------
    effects : array of float, [grid, grid]
        What each part of the square that the network sees adds to the score.
    largest : float
        The effect of full colour.
    shown : (int, int)
        Width and height of the thumbnail.
    seen : float, optional
        Side of that square, which is at the centre, as a share of the image's shorter side; None
        if the whole image was pressed into it.

    Returns
    -------
    Heat
        Blue where a part raises the score, orange where it lowers it, the stronger the less one
        sees through.
    """
    share = np.clip(effects / largest, -1, 1) if largest > 0 else np.zeros_like(effects)
    colours = np.where((share > 0)[..., None], RAISES, LOWERS)
    opacity = np.where(np.abs(share) < 0.1, 0, OPAQUE * np.abs(share))
    drawn = np.concatenate([colours, opacity[..., None]], axis=-1).round().astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(drawn, "RGBA").save(content, "PNG")
    sides = shown if seen is None else (min(shown) * seen,) * 2
    left, top = ((extent - side) / 2 for extent, side in zip(shown, sides, strict=True))
    box = (round(value, 2) for value in (left, top, *sides))
    return Heat(_uri("png", content.getvalue()), *box)


def compose(
    chosen: pd.DataFrame,
    shots: Mapping[str, Sequence[Shot]],
    of_areas: Iterable[tuple[str, Shot]],
    *,
    budget: int,
    largest: Mapping[str, float] | None = None,
    heats: Mapping[tuple[str, str, str], Heat] | None = None,
    note: str = "",
) -> Gallery:
    """Put together as many images as the page may have.

    Parameters
    ----------
    chosen : DataFrame
        From `extremes`.
    shots : mapping of location to sequence of Shot
        Its images, in the order of the views. A location without any is skipped.
    of_areas : iterable of (area, shot)
        For the areas' cards, the most wanted first.
    budget : int
        Bytes, of all.
    largest, heats : mapping, optional
        The scale of each outcome; what to draw over the images, by outcome, location and view.
    note : str
        For the page.

    Returns
    -------
    Gallery
        Every outcome and kind has as many locations as the others; where the bytes do not do for
        all, first fewer locations are shown, then one image of each, then none.
    """
    rows = [row for row in chosen.itertuples() if shots.get(str(row.location_id))]
    candidates = [_location_images(r, shots[str(r.location_id)], heats or {}) for r in rows]
    keys = [(str(row.outcome), str(row.kind)) for row in rows]
    shown, left = _fitting(keys, candidates, int(budget * FOR_OUTCOMES)), budget
    outcomes: dict[str, dict[str, list[LocationImages]]] = {}
    for (outcome, kind), location in shown:
        outcomes.setdefault(outcome, {}).setdefault(kind, []).append(location)
        left -= sum(shot.size for shot in location.shots)
    cards: dict[str, list[Shot]] = {}
    for area, shot in of_areas:
        left -= shot.size
        if left < 0:
            break
        cards.setdefault(area, []).append(shot)
    return Gallery(
        {
            name: tuple(Group(kind, tuple(kinds[kind])) for kind in KINDS if kind in kinds)
            for name, kinds in outcomes.items()
        },
        {area: tuple(each) for area, each in cards.items()},
        {name: value for name, value in (largest or {}).items() if name in outcomes},
        note,
    )


def _location_images(
    row: object, shots: Sequence[Shot], heats: Mapping[tuple[str, str, str], Heat]
) -> LocationImages:
    outcome, location = str(row.outcome), str(row.location_id)  # type: ignore[attr-defined]
    actual = row.actual_decile  # type: ignore[attr-defined]
    drawn = [replace(s, heat=heats.get((outcome, location, s.view))) for s in shots]
    # The one that is explained comes first: it is the one that stays where there is room for one.
    drawn.sort(key=lambda shot: shot.heat is None)
    return LocationImages(
        location,
        str(row.area),  # type: ignore[attr-defined]
        float(row.score),  # type: ignore[attr-defined]
        int(row.decile),  # type: ignore[attr-defined]
        None if pd.isna(actual) else int(actual),
        tuple(drawn[:VIEWS]),
    )


def _fitting(
    keys: Sequence[tuple[str, str]], candidates: Sequence[LocationImages], budget: int
) -> list[tuple[tuple[str, str], LocationImages]]:
    """Show as much as fits: so many locations of each kind, with all their images or one."""
    rank = pd.Series(pd.MultiIndex.from_tuples(keys).to_flat_index() if keys else []).to_frame("k")
    ranks = rank.groupby("k").cumcount().tolist() if keys else []
    for views in (VIEWS, 1):
        for most in range(max(ranks, default=-1) + 1, 0, -1):
            shown = [
                (key, replace(location, shots=location.shots[:views]))
                for key, location, at in zip(keys, candidates, ranks, strict=True)
                if at < most
            ]
            if sum(shot.size for _, location in shown for shot in location.shots) <= budget:
                return shown
    return []


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
