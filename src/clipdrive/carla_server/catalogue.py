"""What vehicles, props and walkers there are: their sizes, masses and looks, named as CARLA 0.9.16 names them.

Sizes and masses of vehicles are rounded from the makers' data sheets of the cars that CARLA's models are named
after, with mirrors; props and people are of ordinary size.
"""

from __future__ import annotations

from dataclasses import dataclass

PEDESTRIAN, CAR, TRUCK, BUS, MOTORCYCLE, BICYCLE, STATIC, DYNAMIC = 12, 14, 15, 16, 18, 19, 20, 21  # semantic tags


@dataclass(frozen=True)
class Body:
    """A box with a mass; `centre_m` is how high its middle is above its origin, mass 0 that nothing moves it."""

    half_extents_m: tuple[float, float, float]
    mass_kg: float
    tag: int
    color: tuple[int, int, int]
    centre_m: float


@dataclass(frozen=True)
class VehicleModel:
    """A vehicle of the library; `base_type` is car, truck, van, bus, motorcycle or bicycle."""

    body: Body
    generation: int
    base_type: str
    special_type: str

    @property
    def wheels(self) -> int:
        return 2 if self.base_type in ("motorcycle", "bicycle") else 4


_TAGS = {"car": CAR, "van": CAR, "truck": TRUCK, "bus": BUS, "motorcycle": MOTORCYCLE, "bicycle": BICYCLE}

# id: half length, half width, half height (m), mass (kg), generation, base type, special type, first colour.
_VEHICLES: dict[str, tuple] = {
    "tesla.model3": (2.40, 1.08, 0.74, 1845.0, 2, "car", "electric", (17, 37, 103)),
    "tesla.cybertruck": (3.14, 1.20, 1.05, 2995.0, 1, "truck", "electric", (119, 117, 117)),
    "lincoln.mkz_2017": (2.45, 1.06, 0.75, 1700.0, 1, "car", "", (0, 0, 0)),
    "lincoln.mkz_2020": (2.45, 1.09, 0.74, 1700.0, 2, "car", "", (17, 37, 103)),
    "audi.a2": (1.85, 0.90, 0.78, 990.0, 1, "car", "", (24, 77, 163)),
    "audi.tt": (2.09, 1.00, 0.69, 1355.0, 1, "car", "", (33, 33, 34)),
    "audi.etron": (2.43, 1.02, 0.82, 2490.0, 1, "car", "electric", (50, 51, 63)),
    "bmw.grandtourer": (2.31, 1.12, 0.83, 1570.0, 1, "car", "", (71, 69, 52)),
    "chevrolet.impala": (2.68, 1.02, 0.71, 1645.0, 1, "car", "", (41, 38, 52)),
    "citroen.c3": (1.99, 0.93, 0.81, 1090.0, 1, "car", "", (107, 39, 39)),
    "jeep.wrangler_rubicon": (1.93, 0.95, 0.93, 1980.0, 1, "car", "", (104, 67, 8)),
    "mini.cooper_s": (1.90, 0.99, 0.74, 1240.0, 1, "car", "", (142, 0, 0)),
    "mini.cooper_s_2021": (2.28, 1.05, 0.89, 1285.0, 2, "car", "", (142, 0, 0)),
    "mercedes.coupe": (2.51, 1.08, 0.83, 1740.0, 1, "car", "", (17, 17, 17)),
    "mercedes.coupe_2020": (2.34, 1.00, 0.72, 1740.0, 2, "car", "", (17, 17, 17)),
    "nissan.micra": (1.82, 0.92, 0.75, 980.0, 1, "car", "", (10, 25, 73)),
    "nissan.patrol": (2.30, 0.97, 0.93, 2750.0, 1, "car", "", (8, 41, 80)),
    "seat.leon": (2.10, 0.91, 0.74, 1340.0, 1, "car", "", (88, 3, 31)),
    "toyota.prius": (2.26, 1.00, 0.76, 1380.0, 1, "car", "electric", (18, 54, 63)),
    "ford.mustang": (2.36, 0.95, 0.65, 1690.0, 1, "car", "", (17, 37, 103)),
    "ford.crown": (2.68, 0.90, 0.79, 1890.0, 2, "car", "taxi", (240, 200, 30)),
    "dodge.charger_2020": (2.50, 1.05, 0.77, 1850.0, 2, "car", "", (17, 37, 103)),
    "dodge.charger_police": (2.49, 1.02, 0.77, 1950.0, 1, "car", "emergency", (10, 10, 10)),
    "mercedes.sprinter": (2.96, 0.99, 1.28, 2300.0, 2, "van", "", (20, 20, 20)),
    "volkswagen.t2": (2.24, 1.03, 1.02, 1300.0, 1, "van", "", (58, 36, 2)),
    "ford.ambulance": (3.18, 1.18, 1.22, 4200.0, 2, "van", "emergency", (230, 230, 230)),
    "carlamotors.carlacola": (2.60, 1.31, 1.24, 5500.0, 1, "truck", "", (255, 68, 0)),
    "carlamotors.firetruck": (4.23, 1.45, 1.91, 13000.0, 2, "truck", "emergency", (170, 20, 20)),
    "mitsubishi.fusorosa": (5.14, 1.97, 2.13, 5600.0, 2, "bus", "", (210, 210, 200)),
    "kawasaki.ninja": (1.02, 0.40, 0.71, 270.0, 1, "motorcycle", "", (20, 110, 30)),
    "yamaha.yzf": (1.10, 0.43, 0.72, 265.0, 1, "motorcycle", "", (50, 60, 130)),
    "vespa.zx125": (0.90, 0.43, 0.80, 190.0, 1, "motorcycle", "", (140, 180, 190)),
    "bh.crossbike": (0.74, 0.43, 0.80, 90.0, 1, "bicycle", "", (90, 90, 90)),
    "diamondback.century": (0.82, 0.37, 0.80, 85.0, 1, "bicycle", "", (150, 30, 30)),
    "carlamotors.european_hgv": (3.95, 1.45, 1.75, 8500.0, 2, "truck", "", (200, 200, 205)),
    "dodge.charger_police_2020": (2.55, 1.05, 0.80, 1950.0, 2, "car", "emergency", (20, 20, 20)),
    "gazelle.omafiets": (0.92, 0.33, 0.88, 95.0, 1, "bicycle", "", (40, 40, 45)),
    "harley-davidson.low_rider": (1.18, 0.43, 0.82, 385.0, 1, "motorcycle", "", (90, 20, 20)),
    "micro.microlino": (1.26, 0.74, 0.75, 515.0, 1, "car", "electric", (120, 200, 220)),
    "nissan.patrol_2021": (2.66, 1.07, 0.97, 2850.0, 2, "car", "", (60, 60, 65)),
    "volkswagen.t2_2021": (2.25, 0.92, 0.98, 1300.0, 2, "van", "", (200, 90, 60)),
}


def _vehicle(length: float, width: float, height: float, mass_kg: float, *rest) -> VehicleModel:
    generation, base_type, special_type, color = rest
    body = Body((length, width, height), mass_kg, _TAGS[base_type], color, height)
    return VehicleModel(body, generation, base_type, special_type)


VEHICLES = {f"vehicle.{name}": _vehicle(*numbers) for name, numbers in _VEHICLES.items()}

# id: half length, half width, half height (m), semantic tag, colour, size as CARLA words it.
_PROPS: dict[str, tuple] = {
    "streetbarrier": (0.20, 0.60, 0.53, STATIC, (200, 80, 40), "medium"),
    "constructioncone": (0.17, 0.17, 0.29, DYNAMIC, (225, 85, 25), "small"),
    "trafficcone01": (0.22, 0.22, 0.42, DYNAMIC, (230, 90, 20), "small"),
    "trafficcone02": (0.20, 0.20, 0.38, DYNAMIC, (230, 90, 20), "small"),
    "barrel": (0.29, 0.29, 0.44, DYNAMIC, (60, 85, 140), "medium"),
    "container": (3.03, 1.22, 1.30, STATIC, (150, 60, 40), "big"),
    "chainbarrier": (0.75, 0.08, 0.45, STATIC, (180, 180, 180), "medium"),
    "trafficwarning": (0.60, 0.85, 1.15, STATIC, (220, 160, 30), "big"),
    "warningconstruction": (0.35, 0.45, 0.60, STATIC, (220, 170, 40), "medium"),
    "warningaccident": (0.35, 0.45, 0.60, STATIC, (220, 60, 50), "medium"),
    "box01": (0.33, 0.33, 0.30, DYNAMIC, (165, 125, 80), "small"),
    "box02": (0.30, 0.22, 0.20, DYNAMIC, (165, 125, 80), "small"),
    "bench01": (0.35, 0.85, 0.45, STATIC, (110, 80, 50), "medium"),
    "bin": (0.30, 0.30, 0.50, DYNAMIC, (60, 70, 60), "medium"),
    "trashcan01": (0.35, 0.35, 0.55, DYNAMIC, (50, 70, 60), "medium"),
    "vendingmachine": (0.45, 0.55, 1.00, STATIC, (170, 30, 40), "big"),
    "busstop": (0.90, 2.10, 1.35, STATIC, (90, 100, 110), "big"),
    "mailbox": (0.25, 0.30, 0.65, STATIC, (180, 150, 30), "medium"),
    "shoppingcart": (0.50, 0.29, 0.52, DYNAMIC, (150, 150, 155), "medium"),
    "plantpot01": (0.45, 0.45, 0.45, STATIC, (80, 110, 60), "medium"),
}
PROPS = {
    f"static.prop.{name}": (Body((length, width, height), 0.0, tag, color, height), size)
    for name, (length, width, height, tag, color, size) in _PROPS.items()
}

# gender, age, generation, half height (m), mass (kg); the ids 0001 to 0050 go round these.
_PEOPLE = (
    ("female", "adult", 1, 0.93, 62.0), ("male", "adult", 1, 0.93, 78.0), ("male", "elderly", 1, 0.90, 74.0),
    ("female", "elderly", 1, 0.86, 64.0), ("male", "teenager", 2, 0.88, 60.0), ("female", "child", 2, 0.65, 30.0),
    ("female", "adult", 2, 0.93, 66.0), ("male", "adult", 2, 0.93, 82.0), ("male", "child", 1, 0.65, 31.0),
    ("other", "adult", 2, 0.93, 70.0),
)  # fmt: skip
_CLOTHES = ((60, 70, 110), (130, 50, 50), (70, 100, 70), (150, 130, 90), (50, 50, 55), (170, 170, 180), (120, 70, 120))
WALKING_MPS = {"adult": 1.4, "elderly": 1.1, "teenager": 1.5, "child": 1.2}
RUNNING_MPS = {"adult": 2.8, "elderly": 1.9, "teenager": 3.0, "child": 2.3}


@dataclass(frozen=True)
class WalkerModel:
    """A person of the library; a walker's origin is the middle of the body, as in CARLA."""

    body: Body
    gender: str
    age: str
    generation: int


def _walker(number: int) -> WalkerModel:
    gender, age, generation, half_height, mass_kg = _PEOPLE[number % len(_PEOPLE)]
    body = Body((0.19, 0.19, half_height), mass_kg, PEDESTRIAN, _CLOTHES[number % len(_CLOTHES)], 0.0)
    return WalkerModel(body, gender, age, generation)


WALKERS = {f"walker.pedestrian.{number:04d}": _walker(number) for number in range(1, 51)}
