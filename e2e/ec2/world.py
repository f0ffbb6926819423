"""What the emulator knows beyond moto: zones, capacity, quota, timing, instances, faults, buckets, the call log.

Plain state and arithmetic; moto's instance objects are held but nothing here speaks EC2. Everything is guarded by
`World.lock`, and time passes in one place: `World.advance`.
"""

from __future__ import annotations

import base64
import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend, Zone
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

REGION = "us-west-2"

PENDING, RUNNING, SHUTTING_DOWN, TERMINATED = 0, 16, 32, 48
STATE_NAMES = {PENDING: "pending", RUNNING: "running", SHUTTING_DOWN: "shutting-down", TERMINATED: "terminated"}
# States that hold capacity, addresses and quota. A real account, too, counts an instance until it is terminated.
HOLDING = (PENDING, RUNNING, SHUTTING_DOWN)

# L-1216C47A covers these families only; others have quotas of their own, which are not modelled.
STANDARD_FAMILIES = "acdhimrtz"
# What GetServiceQuota says when the bed sets no limit: more than any test asks for.
UNLIMITED_VCPUS = 1_000_000

DEFAULT_TYPES = [
    f"{family}.{size}"
    for family in ("c5", "c6i", "m5", "m6i", "r6i")
    for size in ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge")
    if f"{family}.{size}" in INSTANCE_TYPES
]

# Buckets as EC2 documents them: requests, and for RunInstances and TerminateInstances also instances.
AWS_BUCKETS = {
    "RunInstances": (5, 2),
    "RunInstances.instances": (1000, 2),
    "TerminateInstances": (100, 5),
    "TerminateInstances.instances": (1000, 20),
    "CreateTags": (100, 10),
    "CreateLaunchTemplateVersion": (100, 5),
    "DescribeInstances.unfiltered": (50, 10),
    "Describe*": (100, 20),
    "*": (50, 5),
}


@dataclass
class ZoneInfo:
    """One zone as DescribeAvailabilityZones shows it. `zone` is what moto's subnets refer to."""

    zone: Zone
    group: str
    group_long_name: str
    border_group: str
    parent: Zone | None = None
    state: str = "available"

    @property
    def name(self) -> str:
        return self.zone.name

    @property
    def is_local(self) -> bool:
        return self.parent is not None


def _zones() -> dict[str, ZoneInfo]:
    regional = {z.name: z for z in RegionsAndZonesBackend.zones[REGION]}
    zones = {name: ZoneInfo(zone, f"{REGION}-zg-1", "US West (Oregon) 1", REGION) for name, zone in regional.items()}
    # The true parents are not documented: read them from the API, as one must with a real account.
    for name, zone_id, long_name, parent in (
        (f"{REGION}-lax-1a", "usw2-lax1-az1", "US West (Los Angeles)", f"{REGION}a"),
        (f"{REGION}-lax-1b", "usw2-lax1-az2", "US West (Los Angeles)", f"{REGION}c"),
        (f"{REGION}-phx-2a", "usw2-phx2-az1", "US West (Phoenix)", f"{REGION}b"),
    ):
        zone = Zone(name, REGION, zone_id, "local-zone")
        zones[name] = ZoneInfo(zone, name[:-1], long_name, name[:-1], regional[parent])
    return zones


ZONES = _zones()
LOCAL_GROUPS = sorted({z.group for z in ZONES.values() if z.is_local})


def _default_offerings() -> dict[str, set[str]]:
    offerings = {name: set(DEFAULT_TYPES) for name in ZONES}
    for offer in INSTANCE_TYPE_OFFERINGS["availability-zone"][REGION]:
        if offer["Location"] in offerings:
            offerings[offer["Location"]].add(offer["InstanceType"])
    return offerings


@dataclass
class Timing:
    """Seconds, all settable. Boot is drawn evenly from bootSeconds +- bootJitter."""

    bootSeconds: float = 0.0
    bootJitter: float = 0.0
    visibleAfterSeconds: float = 0.0
    shutdownSeconds: float = 0.0
    forgetTerminatedSeconds: float = 60.0


@dataclass
class Record:
    """One instance: moto's object, and what moto does not know about it. Instants are of World.now()."""

    serial: int
    instance: Any
    backend: Any
    reservation_id: str
    zone: str
    type: str
    vcpus: int
    memory_mib: int
    launched_at: float
    visible_at: float
    boots_at: float
    token: str = ""
    running_at: float | None = None
    ends_at: float | None = None
    xml: dict[Any, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.instance.id

    @property
    def code(self) -> int:
        return self.instance._state.code

    @property
    def state(self) -> str:
        return self.instance._state.name

    def enter(self, code: int) -> None:
        self.instance._state.code = code
        self.instance._state.name = STATE_NAMES[code]

    def tags(self) -> dict[str, str]:
        return dict(self.backend.tags.get(self.id, {}))

    def user_data(self) -> str | None:
        data = self.instance.user_data
        return None if data is None else base64.b64decode(str(data)).decode("utf-8", "replace")


@dataclass
class Launch:
    """What a client token has bought, kept after its instances are gone."""

    fingerprint: str
    reservation_id: str
    records: list[Record]


@dataclass
class Fault:
    id: int
    action: str
    when: str
    count: int | None
    lose: bool
    delay: float
    code: str | None
    status: int | None
    message: str | None
    zone: str | None
    type: str | None

    def hits(self, action: str, zones: set[str], types: set[str]) -> bool:
        return (
            self.count != 0
            and self.action in ("*", action)
            and (self.zone is None or self.zone in zones)
            and (self.type is None or self.type in types)
        )

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id, "action": self.action, "when": self.when, "count": self.count, "lose": self.lose,
            "delaySeconds": self.delay, "code": self.code, "status": self.status, "message": self.message,
            "zone": self.zone, "type": self.type,
        }  # fmt: skip


@dataclass
class Bucket:
    capacity: float
    refill: float
    level: float
    filled_at: float

    def take(self, tokens: float, now: float) -> bool:
        self.level = min(self.capacity, self.level + (now - self.filled_at) * self.refill)
        self.filled_at = now
        if self.level < tokens:
            return False
        self.level -= tokens
        return True


class World:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._wall_offset = time.time() - time.monotonic()
        self.clear()

    def clear(self) -> None:
        """Everything back to how the server starts."""
        self.opted_in = set(LOCAL_GROUPS)
        for zone in ZONES.values():
            zone.state = "available"
        self.offerings = _default_offerings()
        self.capacity: dict[tuple[str, str], int] = {}
        self.vcpu_quota: int | None = None
        self.quota_partial = True
        self.timing = Timing()
        self.rng = random.Random(0)
        self.records: dict[str, Record] = {}
        self.launches: dict[tuple[str, str], Launch] = {}
        self.serials = itertools.count(1)
        self.epoch = 0
        self.faults: list[Fault] = []
        self.fault_ids = itertools.count(1)
        self.bucket_sizes: dict[str, tuple[float, float]] = {}
        self.buckets: dict[str, Bucket] = {}
        self.calls: list[dict[str, Any]] = []
        self.fixtures: dict[str, str] = {}

    # Time

    def now(self) -> float:
        return time.monotonic()

    def iso(self, instant: float | None) -> str | None:
        if instant is None:
            return None
        at = datetime.fromtimestamp(instant + self._wall_offset, UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"

    def advance(self) -> float:
        """Bring every instance to the state it has by now."""
        now = self.now()
        for record in list(self.records.values()):
            code = record.code
            if code == PENDING and now >= record.boots_at:
                record.enter(RUNNING)
                record.running_at = record.boots_at
            elif code == SHUTTING_DOWN and record.ends_at is not None and now >= record.ends_at:
                self._end(record)
            if record.code == TERMINATED and record.ends_at is None:
                record.ends_at = now  # ended by a moto service that does not go through TerminateInstances
            if record.code == TERMINATED and now >= record.ends_at + self.timing.forgetTerminatedSeconds:
                self._forget(record)
        return now

    def _end(self, record: Record) -> None:
        """Terminated: volumes, interfaces and addresses go back."""
        for nic in record.instance.nics.values():
            if nic.id not in record.backend.enis:
                nic.delete_on_termination = False  # a test deleted it by hand; moto would stumble over it
        record.instance.terminate()
        # Or moto gives these addresses back once more when Python collects the instance, whoever has them by then.
        record.instance._private_ips = set()

    def _forget(self, record: Record) -> None:
        del self.records[record.id]
        reservation = record.backend.reservations.get(record.reservation_id)
        if reservation is not None:
            reservation.instances = [i for i in reservation.instances if i.id != record.id]
            if not reservation.instances:
                del record.backend.reservations[record.reservation_id]
        record.backend.tags.pop(record.id, None)

    # Instances

    def adopt(self, backend: Any, reservation: Any) -> list[Record]:
        """Start the clock of the instances that moto has just made, whichever call made them."""
        now, timing = self.now(), self.timing
        records = []
        for instance in reservation.instances:
            boot = timing.bootSeconds + timing.bootJitter * (2 * self.rng.random() - 1)
            shape = INSTANCE_TYPES.get(instance.instance_type, {})
            record = Record(
                serial=next(self.serials), instance=instance, backend=backend, reservation_id=reservation.id,
                zone=instance.availability_zone, type=instance.instance_type,
                vcpus=shape.get("VCpuInfo", {}).get("DefaultVCpus", 0),
                memory_mib=shape.get("MemoryInfo", {}).get("SizeInMiB", 0),
                launched_at=now, visible_at=now + timing.visibleAfterSeconds, boots_at=now + max(0.0, boot),
            )  # fmt: skip
            record.enter(PENDING)
            instance.client_token = ""
            self.records[record.id] = record
            records.append(record)
        return records

    def visible(self, instance_id: str, now: float) -> Record | None:
        record = self.records.get(instance_id)
        return record if record is not None and now >= record.visible_at else None

    def held(self, zone: str, type_: str | None) -> int:
        return sum(1 for r in self.records.values() if r.zone == zone and type_ in (None, r.type) and r.code in HOLDING)

    def free_capacity(self, zone: str, type_: str) -> int | None:
        """Instances of the type that the zone still has; None is unlimited."""
        free = []
        if (zone, type_) in self.capacity:
            free.append(self.capacity[zone, type_] - self.held(zone, type_))
        if (zone, "*") in self.capacity:
            free.append(self.capacity[zone, "*"] - self.held(zone, None))
        return max(0, min(free)) if free else None

    def free_quota(self, type_: str) -> int | None:
        """Instances of the type that the vCPU quota still allows; None is unlimited."""
        if self.vcpu_quota is None or type_[0] not in STANDARD_FAMILIES:
            return None
        used = sum(r.vcpus for r in self.records.values() if r.code in HOLDING and r.type[0] in STANDARD_FAMILIES)
        return max(0, (self.vcpu_quota - used) // max(1, INSTANCE_TYPES[type_]["VCpuInfo"]["DefaultVCpus"]))

    # Zones

    def opt_in_status(self, zone: ZoneInfo) -> str:
        if not zone.is_local:
            return "opt-in-not-required"
        return "opted-in" if zone.group in self.opted_in else "not-opted-in"

    def usable_zones(self) -> list[str]:
        return sorted(n for n, z in ZONES.items() if self.opt_in_status(z) != "not-opted-in")

    # Faults and buckets

    def take_fault(self, action: str, zones: set[str], types: set[str]) -> Fault | None:
        for fault in self.faults:
            if fault.hits(action, zones, types):
                if fault.count is not None:
                    fault.count -= 1
                return fault
        return None

    def throttled(self, action: str, instances: int, unfiltered: bool) -> bool:
        """Takes what the call costs from every bucket it draws on; true if one of them has run dry."""
        wanted = [(self._bucket_for(action, unfiltered), action, 1)]
        if f"{action}.instances" in self.bucket_sizes:
            wanted.append((f"{action}.instances", f"{action}.instances", instances))
        now = self.now()
        return not all(self._bucket(size, name, now).take(n, now) for size, name, n in wanted if size is not None)

    def _bucket_for(self, action: str, unfiltered: bool) -> str | None:
        names = [f"{action}.unfiltered"] if unfiltered else []
        names += [action] + (["Describe*"] if action.startswith("Describe") else []) + ["*"]
        return next((n for n in names if n in self.bucket_sizes), None)

    def _bucket(self, size: str, name: str, now: float) -> Bucket:
        capacity, refill = self.bucket_sizes[size]
        return self.buckets.setdefault(f"{size}/{name}", Bucket(capacity, refill, capacity, now))

    # What the admin endpoints show

    def instances_view(self) -> list[dict[str, Any]]:
        return [
            {
                "id": r.id, "state": r.state, "zone": r.zone, "region": r.backend.region_name,
                "subnet": r.instance.subnet_id, "type": r.type, "vcpus": r.vcpus, "memoryMiB": r.memory_mib,
                "privateIp": r.instance.private_ip, "imageId": r.instance.image_id, "tags": r.tags(),
                "userData": r.user_data(), "launchedAt": self.iso(r.launched_at), "visibleAt": self.iso(r.visible_at),
                "runningAt": self.iso(r.running_at),
                "terminatedAt": self.iso(r.ends_at) if r.code == TERMINATED else None, "clientToken": r.token,
            }
            for r in self.records.values()
        ]  # fmt: skip

    def stats_view(self) -> dict[str, Any]:
        calls, errors = Counter(), defaultdict(Counter)
        for call in self.calls:
            calls[call["action"]] += 1
            if call["code"] is not None:
                errors[call["action"]][call["code"]] += 1
        zones: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        for r in self.records.values():
            zones[r.zone][r.type][r.state] += 1
        return {
            "calls": calls,
            "errors": errors,
            "instances": Counter(r.state for r in self.records.values()),
            "zones": zones,
        }


WORLD = World()
