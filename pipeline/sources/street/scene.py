"""Scene: a seed → a street with its lanes, and the road users on it at any moment.

A lane is an endless conveyor of slots that moves at the lane's own pace, so that any moment can be computed without
the moments before it, and no road user runs into another. Everything follows from the seed.
World: metres; x along the street, y across it, away from the camera.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal

Kind = Literal["car", "bus", "truck", "cyclist", "walker"]
LightName = Literal["day", "overcast", "dusk"]

KIND_LENGTH_M: dict[Kind, float] = {"car": 4.6, "bus": 11.6, "truck": 9.2, "cyclist": 1.8, "walker": 0.6}
VEHICLES: tuple[tuple[Kind, float], ...] = (("car", 0.66), ("truck", 0.19), ("bus", 0.15))
START_X_M = -12.0
END_X_M = 190.0
WALK_END_X_M = 110.0  # people further away are smaller than three pixels


@dataclass(frozen=True, slots=True)
class RoadUser:
    """A road user at a moment: centre of the footprint, heading along x (+1 or -1), and distance travelled."""

    key: tuple[int, int]  # lane and slot: its identity, from frame to frame
    kind: Kind
    x_m: float
    y_m: float
    heading: int
    travelled_m: float


@dataclass(frozen=True, slots=True)
class Lane:
    """A strip in which all move alike: at `pace_mps`, swaying by `sway_m` metres in `period_seconds`."""

    y_m: float
    heading: int
    pace_mps: float
    sway_m: float
    period_seconds: float
    slot_m: float
    fill: float  # share of slots that are taken
    kinds: tuple[tuple[Kind, float], ...]  # share of each kind
    end_x_m: float = END_X_M

    def travelled_m(self, seconds: float) -> float:
        """Metres that the lane has moved since second 0."""
        return self.pace_mps * seconds + self.sway_m * math.sin(math.tau * seconds / self.period_seconds)


class Street:
    """A street of one seed: its lanes, kerbs, light and the position of the camera.

    density: scales the number of road users: 0 none, 1 ordinary, 2 crowded. light: None takes the seed's choice.
    """

    def __init__(self, *, seed: int, density: float = 1.0, light: LightName | None = None) -> None:
        chance = Random(f"street {seed}")
        self.seed = seed
        chosen: LightName = chance.choices(("day", "overcast", "dusk"), (0.5, 0.25, 0.25))[0]
        self.light: LightName = light or chosen
        self.is_mirrored = chance.random() < 0.5
        self.camera_height_m = chance.uniform(4.8, 6.6)
        self.camera_yaw_degrees = chance.uniform(25, 37)
        self.field_of_view_degrees = chance.uniform(54, 63)
        self.horizon = chance.uniform(0.22, 0.29)
        self.lanes_each_way = chance.choice((1, 2, 2))
        self.has_parked_cars = self.lanes_each_way == 1

        near_heading = -1 if self.is_mirrored else 1  # people drive on the right, whichever way the camera looks
        self.near_kerb_m = y = 4.6
        lanes: list[Lane] = []

        def pavement(first_m: float, rows: int) -> None:
            for row in range(rows):
                heading = chance.choice((-1, 1))
                pace = chance.uniform(1.05, 1.6)
                taken = min(1, 0.3 * density)
                lanes.append(
                    Lane(first_m + 0.75 * row, heading, pace, 0, 1, 7.0, taken, (("walker", 1.0),), WALK_END_X_M)
                )

        def cycling(y_m: float, heading: int) -> None:
            taken = min(1, 0.33 * density)
            lanes.append(
                Lane(y_m, heading, chance.uniform(4, 5.6), 0, 1, 15.0, taken, (("cyclist", 1.0),), WALK_END_X_M)
            )

        def driving(y_m: float, heading: int) -> None:
            pace, sway, period = chance.uniform(6.5, 11.5), chance.uniform(0, 7), chance.uniform(14, 22)
            lanes.append(Lane(y_m, heading, pace, sway, period, 16.0, min(1, 0.6 * density), VEHICLES))

        pavement(1.5, 4)
        cycling(y + 0.85, near_heading)
        y += 1.8
        self.lane_edges_m: list[float] = [y]
        for heading in (near_heading, -near_heading):
            for _ in range(self.lanes_each_way):
                driving(y + 1.65, heading)
                y += 3.3
                self.lane_edges_m.append(y)
        cycling(y + 0.95, -near_heading)
        y += 1.8
        if self.has_parked_cars:
            taken = min(1, 0.7 * density)
            lanes.append(Lane(y + 1.15, -near_heading, 0, 0, 1, 6.2, taken, (("car", 1.0),)))
            y += 2.3
        self.far_kerb_m = y
        self.house_front_m = y + 5.2
        pavement(y + 2.0, 4)
        # Far lanes first, in painting order.
        self.lanes = tuple(sorted(lanes, key=lambda lane: -lane.y_m))

    def road_users(self, seconds: float) -> Iterator[RoadUser]:
        """The road users in sight, furthest first, so that none hides a later one."""
        for lane_index, lane in enumerate(self.lanes):
            travelled = lane.travelled_m(seconds)
            shift = lane.heading * travelled
            first = math.floor((START_X_M - shift) / lane.slot_m) - 1
            last = math.ceil((lane.end_x_m - shift) / lane.slot_m)
            users: list[RoadUser] = []
            for slot in range(first, last + 1):
                taken = _occupant(self.seed, lane_index, slot, lane)
                if taken is None:
                    continue
                kind, offset = taken
                x = slot * lane.slot_m + offset + shift
                if START_X_M <= x <= lane.end_x_m:
                    users.append(RoadUser((lane_index, slot), kind, x, lane.y_m, lane.heading, travelled))
            yield from sorted(users, key=lambda user: -abs(user.x_m))


@lru_cache(maxsize=8192)
def _occupant(seed: int, lane_index: int, slot: int, lane: Lane) -> tuple[Kind, float] | None:
    """The kind that takes a slot, and metres from the slot's start to its middle; None for an empty slot."""
    chance = Random(f"{seed} {lane_index} {slot}")
    if chance.random() >= lane.fill:
        return None
    kind = chance.choices([kind for kind, _ in lane.kinds], [share for _, share in lane.kinds])[0]
    length = KIND_LENGTH_M[kind]
    return kind, length / 2 + chance.random() * (lane.slot_m - length - 1.2)
