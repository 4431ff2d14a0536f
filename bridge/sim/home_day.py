"""What a day brings to a simulated house: sun and clouds, appliances, a vehicle; all from a seed.

Never keeps a state: every function here depends on its arguments alone. Times are local seconds.
"""

from __future__ import annotations

import math

DAY_S = 86_400
APPLIANCES = ((2100, 180), (1300, 300), (2300, 1200), (800, 1500))  # W, s

_MASK = (1 << 64) - 1


def irradiance(latitude_deg: float, seed: int, local: int) -> float:
    """Return the sun on the modules, 0..1 of peak: clear-sky curve (Haurwitz) behind clouds."""
    day, second = divmod(local, DAY_S)
    season = 2 * math.pi * ((day + 10) % 365.2422) / 365.2422
    declination = math.radians(-23.44) * math.cos(season)
    latitude = math.radians(latitude_deg)
    hour_angle = 2 * math.pi * (second / DAY_S - 0.5)
    height = (
        math.sin(latitude) * math.sin(declination)
        + math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    )
    if height <= 0.005:
        return 0.0
    clear = 1.098 * height * math.exp(-0.057 / height) * 0.88
    overcast = 0.1 + 0.8 * chance(seed, 10, day) ** 2
    cloud = drift(seed, 11, local, 900) * (0.6 + 0.4 * drift(seed, 12, local, 90))
    return clear * (1.0 - overcast * cloud)


def load_w(seed: int, local: int) -> float:
    """Return what the house draws: base, fridge, tank heater, evening, and whatever is switched on."""
    day, second = divmod(local, DAY_S)
    watts = 260.0 + 90.0 * drift(seed, 20, local, 900)
    if (local + 700 * seed) % 2700 < 900:
        watts += 110.0
    if 1800 <= second < 10_800:
        watts += 3600.0
    if 63_000 <= second < 75_600:
        watts += 900.0 + 900.0 * drift(seed, 21, local, 1200)
    slot, offset = divmod(local, 1800)
    if 6 * 3600 <= second < 22 * 3600 and chance(seed, 22, slot) < 0.45:
        power_w, length_s = APPLIANCES[int(len(APPLIANCES) * chance(seed, 23, slot))]
        start = 60 * int(5 * chance(seed, 24, slot))
        if start <= offset < start + length_s:
            watts += power_w
    return watts


def ev_w(ev: str, local: int) -> int:
    """Return the power into the vehicle: ``ev`` is none, charge (10 to 13 h) or v2h (18 to 21 h)."""
    second = local % DAY_S
    if ev == "charge" and 10 * 3600 <= second < 13 * 3600:
        return 7000
    if ev == "v2h" and 18 * 3600 <= second < 21 * 3600:
        return -3000
    return 0


def chance(seed: int, stream: int, number: int) -> float:
    """Return a number in 0..1 that depends on nothing but the arguments."""
    mixed = (number * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03 + stream * 0x8CB92BA72F3D8DD7) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / 9007199254740992.0


def drift(seed: int, stream: int, at: int, period: int) -> float:
    """Return a number in 0..1 that wanders smoothly, with a new goal each ``period`` seconds."""
    step, part = divmod(at, period)
    share = part / period
    share = share * share * (3.0 - 2.0 * share)
    first = chance(seed, stream, step)
    return first + (chance(seed, stream, step + 1) - first) * share
