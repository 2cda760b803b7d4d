"""One street image: a scene made from what it shall show and from chance, then drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from streetgauge.synthetic.canvas import Camera, Canvas, Colour, Light, mix, scale
from streetgauge.synthetic.things import (
    Boundary,
    Building,
    Palette,
    car,
    lamp,
    litter,
    rubbish,
    tree,
)

_ASPHALT: Colour = (96, 97, 100)
_SLABS: Colour = (158, 154, 146)
_FAR = 120.0
SEASONS = ("spring", "summer", "summer", "autumn", "winter")


@dataclass(frozen=True)
class Weather:
    """Season, light and colours of one location: nuisance, independent of every outcome."""

    palette: Palette
    sky: tuple[Colour, Colour]
    clouds: float
    sun: float
    side: int
    tint: Colour
    haze: float
    wet: float


def make_weather(rng: Random, seasons: Sequence[str] = SEASONS) -> Weather:
    """Draw season, one of those given, time of day and weather by chance."""
    leaf, grass, bare, snow = _season(rng, seasons)
    brick = _jitter(rng, ((152, 84, 62), (172, 118, 84), (186, 158, 118), (128, 76, 66)), 14)
    paint = _jitter(rng, ((226, 220, 206), (214, 200, 176), (198, 206, 208), (220, 190, 170)), 12)
    roof = _jitter(rng, ((92, 92, 98), (126, 78, 62), (84, 76, 72)), 10)
    clouds = rng.random()
    evening = rng.random() ** 2 * rng.choice((0.0, 1.0))
    blue = mix((88, 142, 208), (150, 196, 236), rng.random())
    grey = mix((150, 156, 166), (206, 210, 214), rng.random())
    top = mix(mix(blue, grey, clouds**0.7), (96, 84, 120), 0.5 * evening)
    low = mix(mix(mix(top, (244, 246, 248), 0.6), grey, clouds * 0.5), (250, 190, 130),
              0.75 * evening)  # fmt: skip
    return Weather(
        palette=Palette(
            brick=brick, paint=paint, roof=roof,
            frame=_jitter(rng, ((238, 236, 230), (238, 236, 230), (70, 60, 54)), 8),
            leaf=leaf, grass=grass, bare=bare, snow=snow,
        ),
        sky=(top, low),
        clouds=clouds,
        sun=(1 - clouds) * (1 - 0.5 * evening),
        side=rng.choice((-1, 1)),
        tint=(1 + 0.12 * evening, 1.0, 1 - 0.2 * evening),
        haze=math.exp(rng.uniform(math.log(70), math.log(420))),
        wet=float(clouds > 0.7 and rng.random() < 0.5),
    )  # fmt: skip


def _season(rng: Random, seasons: Sequence[str]) -> tuple[Colour, Colour, float, bool]:
    season = rng.choice(seasons)
    if season == "spring":
        leaf = mix((128, 164, 70), (210, 170, 186), 0.8 * float(rng.random() < 0.2))
        return leaf, (112, 150, 66), rng.uniform(0, 0.3), False
    if season == "summer":
        return mix((62, 104, 48), (96, 130, 58), rng.random()), (110, 134, 64), 0.0, False
    if season == "autumn":
        leaf = mix((176, 104, 40), (196, 156, 52), rng.random())
        return leaf, (120, 126, 66), rng.uniform(0.1, 0.55), False
    return (84, 92, 56), (112, 116, 76), rng.uniform(0.8, 1.0), rng.random() < 0.15


def _jitter(rng: Random, colours: tuple[Colour, ...], spread: float) -> Colour:
    red, green, blue = rng.choice(colours)
    shift = rng.uniform(-spread, spread)
    return (
        red + shift + rng.uniform(-spread, spread) / 2,
        green + shift + rng.uniform(-spread, spread) / 2,
        blue + shift + rng.uniform(-spread, spread) / 2,
    )


def draw_street(
    shown: Mapping[str, float], weather: Weather, rng: Random, *, along: bool, size: tuple[int, int]
) -> Image.Image:
    """Draw one view.

    Parameters
    ----------
    shown : mapping
        How strongly the image shows each of `streetgauge.synthetic.model.VISIBLE`, 0 to 1.
    weather : Weather
        The location's season, light and colours.
    rng : Random
        Chance of this view: camera, which houses and cars stand where, exposure.
    along : bool
        Face along the street, or its right side.
    size : (int, int)
        Width and height in pixels.

    Returns
    -------
    Image
        RGB, of that size; drawn twice as large and averaged, so edges are smooth.
    """
    image = _sky(weather, (size[0] * 2, size[1] * 2), rng)
    turn = rng.gauss(0, 0.06) if along else math.pi / 2 + rng.gauss(0, 0.07)
    sunny = weather.sun * 0.28
    light = Light(
        tint=tuple(0.96 * part for part in weather.tint),  # type: ignore[arg-type]
        left=0.88 + sunny * weather.side,
        right=0.88 - sunny * weather.side,
        near=0.80,
        up=0.94 + 0.1 * weather.sun,
        haze=weather.sky[1],
        visibility=weather.haze,
    )
    camera = Camera(
        turn=turn,
        across=rng.uniform(-1.3, 0.6) if along else rng.uniform(-3.4, -1.8),
        height=rng.uniform(1.7, 2.7),
        focal=rng.uniform(0.52, 0.68) if along else rng.uniform(0.5, 0.6),
        pitch=rng.uniform(0.0, 0.10) if along else rng.uniform(0.06, 0.16),
        roll=rng.gauss(0, 0.012),
    )
    _Street(Canvas(image, light, camera), shown, weather, rng, along=along).draw()
    return _expose(image.reduce(2), rng)


class _Street:
    """Lay out one street and draw it, the farthest things first."""

    def __init__(
        self, canvas: Canvas, shown: Mapping[str, float], weather: Weather, rng: Random,
        *, along: bool,
    ) -> None:  # fmt: skip
        self.canvas, self.shown, self.weather, self.rng = canvas, shown, weather, rng
        self.along = along
        self.start, self.end = (-6.0, _FAR) if along else (-26.0, 26.0)
        self.sides = (-1, 1) if along else (1,)
        self.half = 3.4 + 1.3 * shown["size"] + rng.uniform(-0.3, 0.3)
        self.kerb = self.half + 1.5 + 1.1 * shown["paving"]
        self.garden = 0.3 + (7.5 * (1 - shown["height"]) + 1.5) * (0.15 + 0.85 * shown["size"])
        self.things: list[tuple[float, Callable[[], None]]] = []

    def add(self, x: float, z: float, draw: Callable[[], None]) -> None:
        depth = self.canvas.depth(x, z)
        if depth > -4 and self.canvas.sees(x, z - 6, z + 6, 4.0):
            self.things.append((depth, draw))

    def draw(self) -> None:
        self._ground()
        for side in self.sides:
            self._row(side)
            self._trees(side)
            self._cars(side)
            self._furniture(side)
        self.things.sort(key=lambda thing: -thing[0])
        for _, draw in self.things:
            draw()

    def _ground(self) -> None:
        canvas, shown, rng = self.canvas, self.shown, self.rng
        palette = self.weather.palette
        up = canvas.light.up
        worn = 1 - shown["paving"]
        grass = (222, 226, 232) if palette.snow else palette.grass
        yard = mix(grass, (150, 142, 130), min(1.0, 1.25 * (1 - shown["trees"])))
        road = scale(mix(_ASPHALT, (66, 70, 78), 0.7 * self.weather.wet), rng.uniform(0.85, 1.1))
        slabs = mix(_SLABS, (110, 106, 100), worn * 0.75)
        strip = partial(_strip, canvas, along=self.along)
        strip(-300, 300, mix(yard, (140, 140, 128), 0.3))
        for side in self.sides:
            inner, outer = side * self.half, side * self.kerb
            strip(inner, outer, slabs)
            strip(outer, outer + side * self.garden, yard)
            if shown["hedges"] > 0.7:
                strip(inner + side * 0.3, inner + side * 1.1, grass)
        strip(-self.half, self.half, road)
        for side in self.sides:
            edge = side * self.half
            strip(edge - side * 0.14, edge + side * 0.12, (182, 180, 174))
        for _ in range(int(16 * worn * worn)):
            x, z = rng.uniform(-self.half, self.half * 0.7), self._near(rng)
            tone = scale(road, rng.choice((0.68, 0.8, 1.22)))
            canvas.ground(x, x + rng.uniform(0.4, 1.6), z, z + rng.uniform(0.5, 4), tone, up)
        for _ in range(int(9 * worn)):
            x, z = rng.uniform(-self.half, self.half), self._near(rng)
            crack = [(x + rng.uniform(-0.5, 0.5), 0.0, z + 0.7 * i) for i in range(5)]
            canvas.line(crack, scale(road, 0.6), 0.05)
        if self.along and shown["paving"] > 0.35:
            z = 1.5
            while z < 70:
                canvas.ground(-0.07, 0.07, z, z + 2.0, (216, 214, 206), up)
                z += 4.0
        dirty = max(0.0, shown["litter"] - 0.35)
        for _ in range(int(75 * dirty * dirty * 2)):
            x = rng.choice(self.sides) * (self.half + rng.uniform(-0.8, self.kerb - self.half))
            litter(canvas, x, self._near(rng), rng.uniform(0.1, 0.32), rng, canvas.light)

    def _near(self, rng: Random) -> float:
        if self.along:
            return 2.0 + 28.0 * math.pow(rng.random(), 1.7)
        return rng.uniform(-8, 8)

    def _row(self, side: int) -> None:
        """Put the buildings of one side, each with what bounds its front garden."""
        shown, rng, palette = self.shown, self.rng, self.weather.palette
        front = side * (self.kerb + self.garden)
        dense = shown["height"]
        z = self.start - rng.uniform(0, 6)
        while z < self.end:
            storeys = _storeys(dense, shown["size"], rng)
            unit = 4.3 + 3.6 * shown["size"] * (1 - 0.6 * dense)
            joined = 1 + int(rng.random() * (2 + 4 * max(0.0, 0.85 - abs(dense - 0.5) * 1.5)))
            if dense < 0.3:
                joined = 1 if shown["size"] > 0.55 else 2
                unit *= 1.25
            if storeys > 4:
                joined = 3 + int(rng.random() * 3)
            long = unit * joined
            old = shown["age"]
            brick = rng.random() < 0.25 + 0.65 * old
            colour = (
                palette.brick if brick else mix(palette.paint, (176, 176, 172), 0.6 * (1 - old))
            )
            building = Building(
                side=side, x=front + side * rng.uniform(0, 0.4) * (1 - dense), z0=z, z1=z + long,
                storeys=storeys, deep=8.0 + 3 * shown["size"], unit=unit,
                upkeep=_unit(shown["facade"] + rng.gauss(0, 0.06)), ornament=shown["doors"],
                age=_unit(old + rng.gauss(0, 0.05)),
                colour=scale(colour, rng.uniform(0.93, 1.07)),
                shops=dense > 0.4 and self.garden < 3.5 and rng.random() < 0.18, seed=_seed(rng),
            )  # fmt: skip
            if self.canvas.sees(front, z, z + long, 2.0):
                middle = self.canvas.depth(front + side * 2, z + long / 2)
                self.things.append((middle, partial(building.draw, self.canvas, palette)))
            gap = rng.uniform(0.6, 1.4) * (0.4 + 6.5 * (1 - dense) ** 1.5 * (0.3 + shown["size"]))
            if self.garden > 1.0:
                self._bound(side, z - gap / 2, z + long + gap / 2)
            z += long + gap

    def _bound(self, side: int, z0: float, z1: float) -> None:
        shown, rng = self.shown, self.rng
        draw = rng.random()
        if draw < 1.15 * shown["hedges"] - 0.1:
            kind = "hedge"
        elif draw > 0.92:
            return
        else:
            kind = "railings" if shown["doors"] + rng.gauss(0, 0.2) > 0.62 else "wall"
            if shown["facade"] + rng.gauss(0, 0.2) < 0.35:
                kind = "fence"
        x = side * (self.kerb + 0.15)
        z = z0
        while z < z1 - 0.5:  # short pieces, so that near and far ones are sorted right
            end = min(z1, z + 5.0)
            piece = Boundary(side, x, z, end - 0.05, kind, shown["facade"], _seed(rng))
            self.add(x, (z + end) / 2, partial(piece.draw, self.canvas, self.weather.palette))
            z = end

    def _trees(self, side: int) -> None:
        shown, rng, palette = self.shown, self.rng, self.weather.palette
        green = shown["trees"]
        spacing = 5.5 + 60 * (1 - green) ** 2.2
        z = self.start + 6 + rng.uniform(0, spacing)
        while z < min(self.end, 75):
            if green > 0.12:
                x = side * (self.half + 0.5)
                high = (4.0 + 5.5 * green) * rng.uniform(0.8, 1.2)
                plant = partial(tree, self.canvas, palette, x, z, high, _seed(rng), green)
                self.add(x, z, plant)
            z += spacing * rng.uniform(0.7, 1.3)
        if self.garden > 2.0:
            for _ in range(int(9 * green * shown["hedges"] + rng.random())):
                x = side * (self.kerb + rng.uniform(0.3, 0.9) * self.garden)
                z = rng.uniform(self.start + 4, min(self.end, 60))
                plant = partial(tree, self.canvas, palette, x, z, rng.uniform(2.0, 4.5),
                                _seed(rng), 1.0)  # fmt: skip
                self.add(x, z, plant)

    def _cars(self, side: int) -> None:
        shown, rng = self.shown, self.rng
        busy = rng.uniform(0.15, 0.7)
        z = self.start + (9.5 if self.along else 14) + rng.uniform(0, 6)
        while z < min(self.end - (0 if self.along else 14), 70):
            if rng.random() < busy:
                x = side * (self.half - 1.05)
                smart = _unit(shown["cars"] + rng.gauss(0, 0.18))
                self.add(x - side, z, partial(car, self.canvas, x, z, smart, _seed(rng)))
            z += rng.uniform(5.3, 6.5)

    def _furniture(self, side: int) -> None:
        shown, rng = self.shown, self.rng
        x = side * (self.half + 0.4)
        z = self.start + 12 + rng.uniform(0, 18)
        while z < min(self.end, 70):
            self.add(x, z, partial(lamp, self.canvas, side, x, z))
            z += 24
        for _ in range(int(6 * max(0.0, shown["litter"] - 0.3) ** 1.2 + rng.random())):
            z = self._near(rng) + (2.5 if self.along else 0)
            spot = side * rng.uniform(self.half + 0.5, self.kerb)
            heap = partial(rubbish, self.canvas, self.weather.palette, spot, z, _seed(rng))
            self.add(spot, z, heap)


def _strip(canvas: Canvas, x0: float, x1: float, colour: Colour, *, along: bool) -> None:
    """Fill the ground between two lines along the street, in pieces, for haze grows with depth."""
    edges = (-3.0, 12.0, 30.0, 70.0, 400.0) if along else (-60.0, 60.0)
    for z0, z1 in pairwise(edges):
        canvas.ground(x0, x1, z0, z1, colour, canvas.light.up)


def _storeys(dense: float, size: float, rng: Random) -> int:
    base = 1.35 + 2.2 * dense + 0.3 * size + (11 * (dense - 0.72) if dense > 0.72 else 0.0) * 2.2
    return max(1, round(base + rng.uniform(-0.4, 0.4)))


def _seed(rng: Random) -> int:
    return rng.getrandbits(32)


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))


@lru_cache(maxsize=4)
def _cloud_map(width: int, height: int) -> NDArray[np.float32]:
    """Soft noise in 0..1, twice as wide as the image; every image takes a piece of it."""
    rng = np.random.default_rng(7)
    total = np.zeros((height, 2 * width), np.float32)
    for cells, weight in ((3, 1.0), (7, 0.6), (15, 0.35), (31, 0.2)):
        coarse = rng.random((cells, cells * 4), dtype=np.float32)
        grown = Image.fromarray(coarse).resize((2 * width, height), Image.Resampling.BICUBIC)
        total += weight * np.asarray(grown)
    total -= total.min()
    total /= total.max()
    return total


def _sky(weather: Weather, size: tuple[int, int], rng: Random) -> Image.Image:
    width, height = size[0] // 4, size[1] // 4
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 0.8
    top, low = (np.array(colour, np.float32) for colour in weather.sky)
    sky = top * (1 - share) + low * share
    start = rng.randrange(width)
    veil = _cloud_map(width, height)[:, start : start + width, None]
    cover = np.clip((veil - 0.75 + 0.45 * weather.clouds) * 3.0, 0, 1) * (1 - 0.5 * share)
    white = np.array([246, 246, 248], np.float32) * (1 - 0.22 * weather.clouds)
    sky = sky * (1 - cover) + white * cover
    small = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    smooth = small.resize((size[0] // 2, size[1] // 2), Image.Resampling.BILINEAR)
    return smooth.resize(size, Image.Resampling.NEAREST)  # halved again when all is drawn


@lru_cache(maxsize=4)
def _grain(width: int, height: int) -> Image.Image:
    """Brightness noise at two scales around 128, twice as large as the image."""
    rng = np.random.default_rng(11)
    fine = rng.standard_normal((2 * height, 2 * width), dtype=np.float32)
    coarse = np.repeat(np.repeat(fine[::3, ::3], 3, 0), 3, 1)[: 2 * height, : 2 * width]
    noise = (128.5 + 2.2 * fine + 1.8 * coarse).clip(0, 255).astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(noise)] * 3)


def _expose(image: Image.Image, rng: Random) -> Image.Image:
    """Take the photograph: exposure, white balance, contrast, grain."""
    width, height = image.size
    gain = math.exp(rng.gauss(0.02, 0.13))
    warm = rng.gauss(0, 0.035)
    contrast = rng.uniform(0.88, 1.12)
    levels = np.arange(256)
    table = [
        (levels * gain * channel * contrast + 128 * (1 - contrast)).clip(0, 255).round()
        for channel in (1 + warm, 1.0, 1 - warm)
    ]
    exposed = image.point(np.concatenate(table).astype(int).tolist())
    left, top = rng.randrange(width), rng.randrange(height)
    grain = _grain(width, height).crop((left, top, left + width, top + height))
    return ImageChops.add(exposed, grain, 1, -128)
