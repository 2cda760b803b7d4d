"""What stands in a street: houses, gardens, trees, cars, bins. Each draws itself on a canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from streetgauge.synthetic.canvas import Canvas, Colour, Light, mix, scale

_GLASS: Colour = (58, 70, 84)
_BOARD: Colour = (128, 100, 70)
_DIRT: Colour = (72, 66, 58)
_MOSS: Colour = (92, 100, 66)
_PAINT: tuple[Colour, ...] = (
    (40, 60, 110), (120, 30, 36), (30, 80, 60), (26, 28, 32), (190, 150, 50), (90, 120, 140),
    (120, 60, 110), (210, 208, 200),
)  # fmt: skip
_CARS: tuple[Colour, ...] = (
    (32, 34, 38), (70, 74, 80), (168, 172, 176), (226, 226, 224), (36, 56, 104), (136, 26, 30),
    (24, 74, 60), (196, 150, 60),
)  # fmt: skip
_BAGS: tuple[Colour, ...] = ((34, 34, 38), (60, 90, 130), (196, 200, 204), (40, 110, 64))
_SCRAPS: tuple[Colour, ...] = ((236, 236, 230), (214, 70, 60), (70, 120, 200), (226, 190, 80))
_SPRAY: tuple[Colour, ...] = ((206, 50, 150), (40, 90, 200), (30, 30, 34), (60, 170, 90))


@dataclass(frozen=True)
class Palette:
    """Colours that all views of a location share; none depends on an outcome."""

    brick: Colour
    paint: Colour
    roof: Colour
    frame: Colour
    leaf: Colour
    grass: Colour
    bare: float
    """Share of its leaves that a tree has lost."""
    snow: bool


@dataclass(frozen=True)
class _Front:
    """What all doors, windows and shops of a front share; ``wide`` and ``tall`` are a window's."""

    canvas: Canvas
    wall: Colour
    bright: float
    rng: Random
    frame: Colour
    wide: float
    tall: float
    fine: bool


@dataclass(frozen=True)
class Building:
    """One house or block: its front stands at ``x`` and faces the street.

    ``side`` is +1 right of the street, -1 left of it; lengths are metres, the rest 0 to 1.
    """

    side: int
    x: float
    z0: float
    z1: float
    storeys: int
    deep: float
    unit: float
    upkeep: float
    ornament: float
    age: float
    colour: Colour
    shops: bool
    seed: int

    @property
    def high(self) -> float:
        """Height of the eaves."""
        return self.storeys * (2.6 + 0.5 * self.age + 0.3 * self.ornament)

    @property
    def pitched(self) -> bool:
        """Whether it has a roof that slopes."""
        return self.storeys <= 4 and (self.age > 0.28 or self.storeys <= 2)

    def draw(self, canvas: Canvas, palette: Palette) -> None:
        """Draw the ends, the roof, the front with its doors and windows."""
        rng = Random(self.seed)
        light = canvas.light
        bright = light.front(self.side)
        back = self.x + self.side * self.deep
        wall = mix(self.colour, _DIRT, 0.48 * (1.0 - self.upkeep))
        if self.z0 > 0 or self.z1 < 0:
            end = self.z0 if self.z0 > 0 else self.z1
            canvas.gable(end, self.x, back, 0, self.high, wall, light.near)
        if self.pitched:
            self._roof(canvas, palette, wall, bright)
        canvas.wall(self.x, self.z0, self.z1, 0, self.high, wall, bright)
        near = max(canvas.depth(self.x, self.z0), canvas.depth(self.x, self.z1))
        if canvas.pixels(1.0, near) < 4.0:
            return
        self._stains(canvas, wall, bright, rng)
        self._trim(canvas, palette, wall, bright)
        self._front(canvas, palette, wall, bright, rng)

    def _roof(self, canvas: Canvas, palette: Palette, wall: Colour, bright: float) -> None:
        rise = self.deep * (0.24 + 0.12 * self.age)
        ridge = self.x + self.side * self.deep / 2
        back = self.x + self.side * self.deep
        top, high = self.high + rise, self.high
        roof = mix(palette.roof, _MOSS, 0.5 * (1.0 - self.upkeep))
        if palette.snow:
            roof = (226, 230, 236)
        end = self.z0 if self.z0 > 0 else self.z1
        if self.z0 > 0 or self.z1 < 0:
            outline = ((self.x, high, end), (ridge, top, end), (back, high, end))
            canvas.face(outline, wall, canvas.light.near)
        lip = self.x - self.side * 0.35
        canvas.face(
            ((lip, high - 0.1, self.z0), (lip, high - 0.1, self.z1), (ridge, top, self.z1),
             (ridge, top, self.z0)), roof, 0.5 * (bright + canvas.light.up),
        )  # fmt: skip
        if self.age > 0.5:
            count = max(1, round((self.z1 - self.z0) / max(self.unit, 5.0)))
            for i in range(count):
                z = self.z0 + (i + 0.9) * (self.z1 - self.z0) / count - 0.5
                x = sorted((ridge, ridge + self.side * 0.7))
                canvas.box((x[0], x[1]), (top - 0.5, top + 1.1), (z, z + 0.9), scale(wall, 0.85))

    def _stains(self, canvas: Canvas, wall: Colour, bright: float, rng: Random) -> None:
        length = self.z1 - self.z0
        for _ in range(int(14 * max(0.0, 0.7 - self.upkeep) * min(3.0, length / 6))):
            z = self.z0 + rng.random() * length * 0.9
            top = self.high * (0.25 + 0.75 * rng.random())
            wide, tall = 0.25 + rng.random() * 0.5, 0.8 + rng.random() * 2.2
            patch = mix(wall, _DIRT if rng.random() < 0.7 else (170, 165, 155), 0.4)
            end, foot = min(self.z1, z + wide), max(0.0, top - tall)
            drip = ((self.x, top, z), (self.x, top, end), (self.x, foot, z + wide * 0.55),
                    (self.x, foot, z + wide * 0.4))  # fmt: skip
            canvas.face(drip, patch, bright)

    def _trim(self, canvas: Canvas, palette: Palette, wall: Colour, bright: float) -> None:
        """Draw the bands that a front has: plinth, cornice, and the balconies of a tower."""
        pale = mix(palette.frame, wall, 0.25)
        if self.ornament * self.age > 0.2:
            canvas.wall(self.x, self.z0, self.z1, self.high - 0.35, self.high, pale, bright)
            canvas.wall(self.x, self.z0, self.z1, 0, 0.6, scale(wall, 0.75), bright)
        if self.storeys > 4:
            step = self.high / self.storeys
            band = mix(wall, (206, 204, 198), 0.45 + 0.3 * self.upkeep)
            for floor in range(1, self.storeys):
                canvas.wall(
                    self.x, self.z0, self.z1, floor * step - 0.25, floor * step + 0.1, band, bright
                )

    def _front(
        self, canvas: Canvas, palette: Palette, wall: Colour, bright: float, rng: Random
    ) -> None:
        length = self.z1 - self.z0
        units = max(1, round(length / self.unit))
        step = length / units
        storey = self.high / self.storeys
        per_unit = max(1, min(4, round(step / 2.9)))
        bay = step / per_unit
        front = _Front(
            canvas, wall, bright, rng,
            frame=mix(palette.frame, _DIRT, 0.65 * max(0.0, 0.8 - self.upkeep)),
            wide=bay * (0.36 + 0.12 * (1 - self.age) + 0.08 * self.ornament),
            tall=storey * (0.44 + 0.14 * self.age),
            fine=canvas.pixels(0.12, canvas.depth(self.x, (self.z0 + self.z1) / 2)) > 1.3,
        )  # fmt: skip
        door = rng.randrange(len(_PAINT))
        for unit in range(units):
            z = self.z0 + unit * step
            if not canvas.sees(self.x, z, z + step):
                continue
            if self.ornament > 0.45:
                door = rng.randrange(len(_PAINT))
            for floor in range(self.storeys):
                for i in range(per_unit):
                    middle = z + (i + 0.5) * bay
                    if floor == 0 and i == 0 and self.storeys <= 5:
                        self._door(front, middle, min(bay, 2.6), _PAINT[door])
                    elif floor > 0 or not self.shops:
                        self._window(front, middle, floor * storey + 0.32 * storey)
            if self.shops:
                self._shop(front, z + bay, z + step - 0.2, storey)

    def _door(self, front: _Front, z: float, bay: float, paint: Colour) -> None:
        canvas, bright = front.canvas, front.bright
        half = 0.24 * bay
        x = self.x - self.side * 0.06
        canvas.wall(x, z - half - 0.14, z + half + 0.14, 0, 2.45, front.frame, bright)
        plain = mix(paint, (120, 112, 100), 0.75 * (1 - self.ornament))
        colour = mix(plain, _DIRT, 0.5 * (1 - self.upkeep))
        canvas.wall(x, z - half, z + half, 0.1, 2.2, colour, bright)
        if self.ornament > 0.6:
            canvas.wall(x, z - half * 0.7, z + half * 0.7, 2.22, 2.4, _GLASS, bright)
            step = min(x, x - self.side * 0.9)
            canvas.ground(
                step, step + 0.9, z - half - 0.2, z + half + 0.2, (190, 186, 178), bright, 0.15
            )

    def _window(self, front: _Front, z: float, sill: float) -> None:
        canvas, bright, frame = front.canvas, front.bright, front.frame
        x, half, top = self.x - self.side * 0.05, front.wide / 2, sill + front.tall
        draw, curtain = front.rng.random(), front.rng.random()
        if draw > 0.82 + 0.4 * self.upkeep:
            canvas.wall(x, z - half, z + half, sill, top, _BOARD, bright)
            return
        if self.age > 0.4 and self.ornament > 0.55 and sill < 1.6 and self.storeys <= 4:  # a bay
            edge = sorted((self.x, self.x - self.side * 0.7))
            canvas.box((edge[0], edge[1]), (0, top + 0.35), (z - half * 1.45, z + half * 1.45),
                       mix(front.wall, frame, 0.55))  # fmt: skip
            x, half = self.x - self.side * 0.75, half * 1.25
        canvas.wall(x, z - half - 0.1, z + half + 0.1, sill - 0.12, top + 0.1, frame, bright)
        glass = mix(_GLASS, canvas.light.haze, 0.15 + 0.3 * curtain)
        canvas.wall(x, z - half, z + half, sill, top, glass, 1.0)
        if not front.fine:
            return
        if curtain < 0.35:
            cloth = mix((214, 206, 190), (120, 104, 90), 1 - self.upkeep)
            canvas.wall(x, z - half, z - half * 0.4, sill, top, cloth, bright * 0.8)
        bar, middle = 0.05, sill + front.tall / 2
        if self.age > 0.35:
            canvas.wall(x, z - half, z + half, middle - bar, middle + bar, frame, bright)
        if self.age > 0.6 or half > 0.8:
            canvas.wall(x, z - bar, z + bar, sill, top, frame, bright)

    def _shop(self, front: _Front, z0: float, z1: float, storey: float) -> None:
        canvas, rng, bright = front.canvas, front.rng, front.bright
        x = self.x - self.side * 0.07
        sign = mix(_PAINT[rng.randrange(len(_PAINT))], _DIRT, 0.4 * (1 - self.upkeep))
        shut = rng.random() > 0.35 + 0.7 * self.upkeep
        canvas.wall(x, z0, z1, storey * 0.82, storey * 1.02, sign, bright)
        glass = (146, 146, 148) if shut else mix(_GLASS, (250, 220, 160), 0.3)
        canvas.wall(x, z0 + 0.1, z1 - 0.1, 0.5, storey * 0.8, glass, bright if shut else 1.0)


@dataclass(frozen=True)
class Boundary:
    """What stands between garden and pavement: a hedge, wall, railings or a fence.

    ``side`` is +1 right of the street, -1 left of it; ``upkeep`` is 0 to 1, the rest metres.
    """

    side: int
    x: float
    z0: float
    z1: float
    kind: str
    upkeep: float
    seed: int

    def draw(self, canvas: Canvas, palette: Palette) -> None:
        """Draw it."""
        rng = Random(self.seed)
        near = canvas.pixels(1.0, max(canvas.depth(self.x, self.z0), canvas.depth(self.x, self.z1)))
        if self.kind == "hedge":
            self._hedge(canvas, palette, near, rng)
        elif self.kind == "railings":
            self._railings(canvas, near)
        else:
            self._wall(canvas, palette, rng)

    def _hedge(self, canvas: Canvas, palette: Palette, near: float, rng: Random) -> None:
        length = self.z1 - self.z0
        leaf = mix(palette.leaf, (60, 76, 44), 0.4)
        canvas.box(self._across(0.7), (0, 1.0), (self.z0, self.z1), scale(leaf, 0.8))
        for _ in range(max(2, int(length * 2.2)) if near > 7 else 0):
            z = self.z0 + rng.random() * length
            tone = scale(leaf, 0.72 + 0.5 * rng.random())
            high = 0.4 + 0.7 * rng.random()
            canvas.blob(self.x, high, z, 0.28, tone, canvas.light.front(self.side))

    def _railings(self, canvas: Canvas, near: float) -> None:
        base = mix((150, 146, 140), _DIRT, 1 - self.upkeep)
        canvas.wall(self.x, self.z0, self.z1, 0, 0.35, base, canvas.light.front(self.side))
        post = self.z0
        while post < self.z1 and near > 5:
            canvas.line(((self.x, 0.3, post), (self.x, 1.2, post)), (34, 36, 40), 0.05)
            post += 0.45
        canvas.line(((self.x, 1.15, self.z0), (self.x, 1.15, self.z1)), (34, 36, 40), 0.06)

    def _wall(self, canvas: Canvas, palette: Palette, rng: Random) -> None:
        length, worn = self.z1 - self.z0, 1 - self.upkeep
        is_wall = self.kind == "wall"
        wall = palette.brick if is_wall else mix((150, 116, 80), (120, 116, 110), worn)
        wall = mix(wall, _DIRT, 0.45 * worn)
        gap = 0.0 if is_wall else worn * 0.6 * rng.random()
        end = max(self.z0 + 0.5, self.z1 - gap * length)
        canvas.box(self._across(0.25), (0, 0.85), (self.z0, end), wall)
        if rng.random() > 0.25 + self.upkeep * 1.1:
            z = self.z0 + rng.random() * max(0.1, length - 2)
            colour = _SPRAY[rng.randrange(len(_SPRAY))]
            x = self.x - self.side * 0.03
            canvas.line(
                [(x, 0.2 + 0.55 * rng.random(), z + 0.3 * i) for i in range(7)], colour, 0.09
            )

    def _across(self, wide: float) -> tuple[float, float]:
        return (self.x, self.x + wide) if self.side > 0 else (self.x - wide, self.x)


def tree(
    canvas: Canvas, palette: Palette, x: float, z: float, high: float, seed: int, lush: float
) -> None:
    """Draw a tree: trunk, branches, and tufts of leaves unless the season took them."""
    rng = Random(seed)
    depth = canvas.depth(x, z)
    if depth < 1.0:
        return
    bark: Colour = (84, 70, 56)
    stem = high * 0.42
    canvas.line(((x, 0, z), (x, stem, z)), bark, 0.1 + high * 0.022)
    crown = high * (0.24 + 0.12 * lush)
    middle = high - crown
    pixels = canvas.pixels(crown, depth)
    small = pixels < 14
    for _ in range(2 if small else 6):
        angle = rng.uniform(-1.1, 1.1)
        end = (x + crown * math.sin(angle), middle + crown * 0.8 * math.cos(angle), z)
        canvas.line(((x, stem, z), end), bark, 0.05 + high * 0.006)
        if palette.bare > 0.5 and not small:
            for _ in range(3):
                twig = (end[0] + rng.uniform(-0.5, 0.5) * crown,
                        end[1] + rng.uniform(0.0, 0.5) * crown, z)  # fmt: skip
                canvas.line((end, twig), bark, 0.04)
    if palette.bare > 0.75:
        return
    tufts = int((6 if small else 14 if pixels < 40 else 30) * (1 - 0.6 * palette.bare))
    for i in range(tufts):
        angle, reach = rng.uniform(0, 2 * math.pi), crown * math.sqrt(rng.random()) * 0.85
        share = i / max(1, tufts)  # the last drawn are the lightest and the highest
        y = middle + reach * math.sin(angle) * 0.8 + crown * 0.35 * (share - 0.5)
        tone = scale(palette.leaf, 0.6 + 0.5 * share + 0.12 * rng.random())
        size = crown * (0.24 + 0.2 * rng.random()) * (1.6 if small else 1.2 if pixels < 40 else 1.0)
        canvas.blob(x + reach * math.cos(angle), y, z, size, tone, flat=0.85)


def car(canvas: Canvas, x: float, z: float, smart: float, seed: int) -> None:
    """Draw a parked car; a smart one is larger, newer and cleaner."""
    rng = Random(seed)
    paint = _CARS[rng.randrange(len(_CARS))]
    van = rng.random() < 0.07
    paint = mix(paint, (122, 112, 98), 0.5 * max(0.0, 0.7 - smart))
    if rng.random() < 0.35 * smart:
        paint = (26, 28, 32)
    half = 0.84 + 0.1 * smart
    long = 3.5 + 1.3 * smart + (0.8 if van else 0)
    waist = 0.82 + 0.2 * smart
    roof = 1.4 + 0.32 * smart + (0.5 if van else 0)
    z0, z1 = z, z + long
    body = (x - half, x + half)
    canvas.ground(x - half - 0.1, x + half + 0.1, z0 - 0.1, z1 + 0.1, (34, 34, 36), 1.0)
    inner = (x - half * 0.82, x + half * 0.82)
    front, rear = z0 + long * (0.04 if van else 0.16), z1 - long * 0.28
    canvas.box(body, (0.3, waist), (z0, z1), paint)
    light = canvas.light
    glass: Colour = mix((38, 44, 52), light.haze, 0.2)
    side_x, edge_x, shade = (
        (body[0], inner[0], light.right) if x > 0 else (body[1], inner[1], light.left)
    )
    canvas.face(((side_x, waist, z0 + 0.1), (side_x, waist, z1 - 0.9), (edge_x, roof, rear),
                 (edge_x, roof, front)), glass, shade)  # fmt: skip
    post = (front + rear) / 2
    canvas.face(((side_x, waist, post), (side_x, waist, post + 0.14), (edge_x, roof, post + 0.1),
                 (edge_x, roof, post)), paint, shade)  # fmt: skip
    canvas.ground(inner[0], inner[1], front, rear, paint, light.up, roof)
    if z0 > 0:
        screen = ((body[0], waist, z0 + 0.06), (body[1], waist, z0 + 0.06),
                  (inner[1], roof, front), (inner[0], roof, front))  # fmt: skip
        canvas.face(screen, glass, light.near)
        lamp: Colour = (176, 24, 24)
        for edge in (body[0], body[1] - 0.32):
            canvas.gable(z0, edge, edge + 0.32, waist - 0.3, waist - 0.08, lamp, 1.0)
        canvas.gable(z0, x - 0.26, x + 0.26, 0.42, 0.55, (226, 206, 90), light.near)
    for wheel in (z0 + long * 0.19, z1 - long * 0.19):
        for radius, tone in ((0.33, (22, 22, 24)), (0.19, (150, 150, 152))):
            ring = [(side_x, 0.33 + radius * math.sin(i * math.pi / 4),
                     wheel + radius * math.cos(i * math.pi / 4)) for i in range(8)]  # fmt: skip
            canvas.face(ring, tone, 0.9)


def lamp(canvas: Canvas, side: int, x: float, z: float) -> None:
    """Draw a street lamp."""
    grey: Colour = (92, 96, 98)
    canvas.line(((x, 0, z), (x, 6.0, z), (x - side * 1.2, 6.3, z)), grey, 0.12)


def rubbish(canvas: Canvas, palette: Palette, x: float, z: float, seed: int) -> None:
    """Draw a heap of bags, or a bin that stands about with its lid open."""
    rng = Random(seed)
    if rng.random() < 0.4:
        paint = _BAGS[rng.randrange(len(_BAGS))]
        canvas.box((x - 0.28, x + 0.28), (0.05, 1.0), (z, z + 0.6), paint)
        canvas.box((x - 0.3, x + 0.3), (1.0, 1.12), (z, z + 0.62), scale(paint, 0.7))
        return
    for _ in range(3 + rng.randrange(4)):
        paint = _BAGS[rng.randrange(len(_BAGS))]
        size = 0.2 + 0.16 * rng.random()
        canvas.blob(x + rng.uniform(-0.5, 0.5), size * 0.8, z + rng.uniform(-0.4, 0.4), size,
                    scale(paint, 0.7 + 0.5 * rng.random()), 1.0, 0.8)  # fmt: skip


def litter(canvas: Canvas, x: float, z: float, size: float, rng: Random, light: Light) -> None:
    """Draw a scrap of paper on the ground."""
    tone = _SCRAPS[rng.randrange(len(_SCRAPS))]
    skew = rng.uniform(-size, size)
    canvas.face(((x, 0.01, z), (x + size, 0.01, z + skew), (x + size, 0.01, z + size + skew),
                 (x, 0.01, z + size)), tone, light.up)  # fmt: skip
