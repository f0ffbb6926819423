"""The /_bed/ endpoints; ec2.py documents them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import moto.ec2.models.subnets as moto_subnets
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.core.types import Base64EncodedString
from moto.ec2.models import ec2_backends

from world import AWS_BUCKETS, LOCAL_GROUPS, REGION, WORLD, ZONES, Fault

FIXTURE_ZONES = [f"{REGION}{x}" for x in "abc"] + sorted(n for n, z in ZONES.items() if z.is_local)
FIXTURE_NETWORK = ipaddress.ip_network("10.64.0.0/16")
FIXTURE_IMAGE = "ami-0123456789abcdef0"


class Refused(Exception):
    """The request makes no sense; the message goes to the caller."""


Handler = Callable[[Any, dict[str, str]], Any]
ROUTES: dict[tuple[str, str], Handler] = {}


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES[method, path] = handler
        return handler

    return register


def run(handler: Handler, body: Any, query: dict[str, str]) -> Any:
    with WORLD.lock:
        WORLD.advance()
        return handler(body, query)


def only(body: Any, *allowed: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused("expected a JSON object")
    if unknown := sorted(set(body) - set(allowed)):
        raise Refused(f"unknown key {', '.join(unknown)}; known: {', '.join(allowed)}")
    return body


def value(body: dict[str, Any], key: str, kind: type, *, null: bool = False, default: Any = ...) -> Any:
    """A checked member: bool, int (not negative), float (not negative) or str."""
    if key not in body:
        if default is ...:
            raise Refused(f"{key} is missing")
        return default
    v = body[key]
    if v is None and null:
        return None
    if kind is float and isinstance(v, int) and not isinstance(v, bool):
        v = float(v)
    if not isinstance(v, kind) or (kind is not bool and isinstance(v, bool)):
        raise Refused(f"{key} must be of type {kind.__name__}{' or null' if null else ''}, not {v!r}")
    if kind in (int, float) and v < 0:
        raise Refused(f"{key} must not be negative")
    return v


def choice(body: dict[str, Any], key: str, *choices: str, default: Any = ...) -> str:
    v = value(body, key, str, default=default)
    if v not in choices and v != default:
        raise Refused(f"{key} must be one of {', '.join(choices)}, not {v!r}")
    return v


def zone_of(body: dict[str, Any]) -> str:
    zone = value(body, "zone", str)
    if zone not in ZONES:
        raise Refused(f"no zone {zone!r}; there are {', '.join(ZONES)}")
    return zone


@route("POST", "/_bed/reset")
def reset(body: Any, _: Any) -> Any:
    only(body)
    BackendDict.reset()
    reset_model_data()
    WORLD.clear()
    return {}


@route("GET", "/_bed/zones")
def zones(*_: Any) -> Any:
    return {n: {"group": z.group, "optIn": WORLD.opt_in_status(z), "state": z.state} for n, z in ZONES.items()}


@route("PUT", "/_bed/zones")
def put_zones(body: Any, _: Any) -> Any:
    for name, wish in only(body, *LOCAL_GROUPS, *ZONES).items():
        if name in LOCAL_GROUPS:
            opted_in = choice(only(wish, "optIn"), "optIn", "opted-in", "not-opted-in") == "opted-in"
            (WORLD.opted_in.add if opted_in else WORLD.opted_in.discard)(name)
        else:
            ZONES[name].state = choice(only(wish, "state"), "state", "available", "constrained", "unavailable")
    return zones()


@route("PUT", "/_bed/capacity")
def put_capacity(body: Any, _: Any) -> Any:
    for entry in body if isinstance(body, list) else [body]:
        only(entry, "zone", "type", "count")
        key, count = (zone_of(entry), value(entry, "type", str)), value(entry, "count", int, null=True)
        if count is None:
            WORLD.capacity.pop(key, None)
        else:
            WORLD.capacity[key] = count
    return [{"zone": z, "type": t, "count": n} for (z, t), n in sorted(WORLD.capacity.items())]


@route("PUT", "/_bed/offerings")
def put_offerings(body: Any, _: Any) -> Any:
    only(body, "zone", "types")
    types = value(body, "types", list)
    if not all(isinstance(t, str) for t in types):
        raise Refused("types must be a list of strings")
    zone = zone_of(body)
    WORLD.offerings[zone] = set(types)
    return {zone: sorted(types)}


@route("PUT", "/_bed/timing")
def put_timing(body: Any, _: Any) -> Any:
    known = vars(WORLD.timing)
    only(body, *known, "seed")
    for key, v in {k: value(body, k, float) for k in known if k in body}.items():
        setattr(WORLD.timing, key, v)
    if "seed" in body:
        WORLD.rng.seed(value(body, "seed", int))
    return dict(known)


@route("PUT", "/_bed/quota")
def put_quota(body: Any, _: Any) -> Any:
    only(body, "vcpus", "partial")
    WORLD.vcpu_quota = value(body, "vcpus", int, null=True, default=WORLD.vcpu_quota)
    WORLD.quota_partial = value(body, "partial", bool, default=WORLD.quota_partial)
    return {"vcpus": WORLD.vcpu_quota, "partial": WORLD.quota_partial}


@route("PUT", "/_bed/throttle")
def put_throttle(body: Any, _: Any) -> Any:
    if isinstance(body, dict) and "preset" in body:
        choice(only(body, "preset"), "preset", "aws")
        body = {action: {"capacity": c, "refill": r} for action, (c, r) in AWS_BUCKETS.items()}
    for action, size in only(body, *body).items():
        if size is None:
            WORLD.bucket_sizes.pop(action, None)
        else:
            only(size, "capacity", "refill")
            WORLD.bucket_sizes[action] = (value(size, "capacity", float), value(size, "refill", float))
    WORLD.buckets.clear()
    return {action: {"capacity": c, "refill": r} for action, (c, r) in WORLD.bucket_sizes.items()}


@route("POST", "/_bed/faults")
def post_fault(body: Any, _: Any) -> Any:
    only(body, "action", "code", "status", "message", "delaySeconds", "count", "when", "lose", "zone", "type")
    lose, delay = value(body, "lose", bool, default=False), value(body, "delaySeconds", float, default=0.0)
    fault = Fault(
        id=next(WORLD.fault_ids),
        action=value(body, "action", str),
        when=choice(body, "when", "before", "after", default="before"),
        count=value(body, "count", int, null=True, default=1),
        lose=lose,
        delay=delay,
        code=value(body, "code", str, null=True, default=None) or (None if delay and not lose else "InternalError"),
        status=value(body, "status", int, null=True, default=None),
        message=value(body, "message", str, null=True, default=None),
        zone=zone_of(body) if body.get("zone") is not None else None,
        type=value(body, "type", str, null=True, default=None),
    )
    WORLD.faults.append(fault)
    return fault.public()


@route("GET", "/_bed/faults")
def faults(*_: Any) -> Any:
    return [fault.public() for fault in WORLD.faults]


@route("DELETE", "/_bed/faults")
def delete_faults(*_: Any) -> Any:
    WORLD.faults.clear()
    return {}


@route("GET", "/_bed/calls")
def calls(_: Any, query: dict[str, str]) -> Any:
    since = int(query.get("since", "0"))
    return {"next": len(WORLD.calls), "calls": WORLD.calls[max(0, since) :]}


@route("GET", "/_bed/stats")
def stats(*_: Any) -> Any:
    return WORLD.stats_view()


@route("GET", "/_bed/instances")
def instances(*_: Any) -> Any:
    return WORLD.instances_view()


@route("POST", "/_bed/fixture")
def fixture(body: Any, _: Any) -> Any:
    only(body, "name", "network", "subnetIds", "userData", "imageId", "instanceTags", "instanceType", "subnetPrefix")
    name, backend = value(body, "name", str), ec2_backends[DEFAULT_ACCOUNT_ID][REGION]
    network = value(body, "network", str, default=name)
    if network not in WORLD.fixtures:
        vpc = backend.create_vpc(str(FIXTURE_NETWORK))
        vpc.add_tags({"Name": network})
        WORLD.fixtures[network] = vpc.id
    vpc_id = WORLD.fixtures[network]
    ids = value(body, "subnetIds", dict, default={})
    return {
        "vpc": vpc_id,
        "subnets": _subnets(backend, vpc_id, value(body, "subnetPrefix", int, default=20), ids),
        "launchTemplate": _template(backend, name, body),
    }


def _subnets(backend: Any, vpc_id: str, prefix: int, ids: dict[str, str]) -> dict[str, str]:
    if not 20 <= prefix <= 28:
        raise Refused("subnetPrefix must be from 20 to 28")
    have = {s.availability_zone: s.id for s in backend.describe_subnets(filters={"vpc-id": vpc_id})}
    for zone, block in zip(FIXTURE_ZONES, FIXTURE_NETWORK.subnets(new_prefix=20), strict=False):
        if zone not in have and zone in WORLD.usable_zones():
            cidr = next(block.subnets(new_prefix=prefix))
            with _next_subnet_id(ids.get(zone)):
                subnet = backend.create_subnet(vpc_id, str(cidr), availability_zone=zone)
            subnet.map_public_ip_on_launch = False
            have[zone] = subnet.id
    return {zone: have[zone] for zone in FIXTURE_ZONES if zone in have}


@contextmanager
def _next_subnet_id(wanted: str | None) -> Iterator[None]:
    """Manifests name subnets: the fixture can give them the IDs that stand there."""
    if wanted is None:
        yield
        return
    with patch.object(moto_subnets, "random_subnet_id", lambda: wanted):
        yield


def _template(backend: Any, name: str, body: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"ImageId": value(body, "imageId", str, default=FIXTURE_IMAGE)}
    if (user_data := value(body, "userData", str, null=True, default=None)) is not None:
        data["UserData"] = Base64EncodedString.from_raw_string(user_data)
    if (type_ := value(body, "instanceType", str, null=True, default=None)) is not None:
        data["InstanceType"] = type_
    if tags := value(body, "instanceTags", dict, default={}):
        tag_list = [{"Key": k, "Value": v} for k, v in tags.items()]
        data["TagSpecifications"] = [{"ResourceType": "instance", "Tags": tag_list}]
    if name in backend.launch_template_name_to_ids:
        template = backend.get_launch_template_by_name(name)
        version = template.create_version(data, "")
    else:
        template = backend.create_launch_template(name, "", data, {})
        version = template.default_version()
    return {"id": template.id, "name": name, "version": version.number}
