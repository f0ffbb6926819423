"""Zones, subnets in them, and which instance types they offer."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend
from moto.ec2.responses import EC2Response

from wire import STOCK, filters_of, hook, page_of, passes, refuse
from world import REGION, WORLD, ZONES

ZONE_FILTERS = {
    "group-long-name": lambda z: [z.group_long_name],
    "group-name": lambda z: [z.group],
    "message": lambda z: [],
    "opt-in-status": lambda z: [WORLD.opt_in_status(z)],
    "parent-zone-id": lambda z: [z.parent.zone_id if z.parent else None],
    "parent-zone-name": lambda z: [z.parent.name if z.parent else None],
    "region-name": lambda z: [REGION],
    "state": lambda z: [z.state],
    "zone-id": lambda z: [z.zone.zone_id],
    "zone-name": lambda z: [z.name],
    "zone-type": lambda z: [z.zone.zone_type],
}


def describe_availability_zones(self: Any) -> ActionResult:
    self.error_on_dryrun()
    filters = filters_of(self, ZONE_FILTERS)
    shown = [
        z
        for z in ZONES.values()
        if WORLD.opt_in_status(z) != "not-opted-in" or self._get_bool_param("AllAvailabilityZones", False)
    ]
    for param, key in (("ZoneNames", lambda z: z.name), ("ZoneIds", lambda z: z.zone.zone_id)):
        if wanted := self._get_param(param, []):
            if unknown := sorted(set(wanted) - {key(z) for z in shown}):
                raise refuse("InvalidParameterValue", f"Invalid availability zone: [{', '.join(unknown)}]")
            shown = [z for z in shown if key(z) in wanted]
    return ActionResult({"AvailabilityZones": [_zone_view(z) for z in shown if passes(z, filters)]})


def _zone_view(z: Any) -> dict[str, Any]:
    view = {
        "OptInStatus": WORLD.opt_in_status(z), "RegionName": REGION, "ZoneName": z.name, "ZoneId": z.zone.zone_id,
        "GroupName": z.group, "GroupLongName": z.group_long_name, "NetworkBorderGroup": z.border_group,
        "ZoneType": z.zone.zone_type, "State": z.state, "Messages": [],
    }  # fmt: skip
    if z.parent:
        view |= {"ParentZoneName": z.parent.name, "ParentZoneId": z.parent.zone_id}
    return view


def modify_availability_zone_group(self: Any) -> ActionResult:
    group, status = self._get_param("GroupName"), self._get_param("OptInStatus")
    if group not in {z.group for z in ZONES.values() if z.is_local}:
        raise refuse("InvalidAZGroup.NotFound", f"The specified Availability Zone group '{group}' does not exist")
    if status != "opted-in":
        raise refuse("InvalidParameterValue", "Opting out of a zone group is done by AWS Support")
    self.error_on_dryrun()
    WORLD.opted_in.add(group)
    return ActionResult({"Return": True})


def create_subnet(self: Any) -> ActionResult:
    if zone_id := self._get_param("AvailabilityZoneId"):
        by_id = {z.zone.zone_id: n for n, z in ZONES.items()}
        self.params["AvailabilityZone"] = by_id.get(self.params.pop("AvailabilityZoneId"), zone_id)
    zone = self._get_param("AvailabilityZone")
    if self.region == REGION and zone is not None and zone not in WORLD.usable_zones():
        raise refuse(
            "InvalidParameterValue",
            f"Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the "
            f"following availability zones: {', '.join(WORLD.usable_zones())}.",
        )
    self.error_on_dryrun()
    return STOCK["create_subnet"](self)


def backend_create_subnet(self: Any, *args: Any, **kwargs: Any) -> Any:
    subnet = STOCK["backend_create_subnet"](self, *args, **kwargs)
    if subnet.availability_zone in ZONES and ZONES[subnet.availability_zone].is_local:
        # moto takes the first subnet of a zone for its default subnet; a Local Zone has none.
        subnet.default_for_az = subnet.map_public_ip_on_launch = False
    return subnet


def backend_get_zone_by_name(self: Any, name: str) -> Any:
    return ZONES[name].zone if name in ZONES else STOCK["backend_get_zone_by_name"](self, name)


def describe_instance_type_offerings(self: Any) -> ActionResult:
    self.error_on_dryrun()
    where = self._get_param("LocationType", "region")
    zones = WORLD.usable_zones()
    if where == "region":
        locations = {REGION: set().union(*(WORLD.offerings[z] for z in zones if not ZONES[z].is_local))}
    elif where == "availability-zone":
        locations = {z: WORLD.offerings[z] for z in zones}
    elif where == "availability-zone-id":
        locations = {ZONES[z].zone.zone_id: WORLD.offerings[z] for z in zones}
    else:
        locations = {}
    offers = [
        {"InstanceType": t, "LocationType": where, "Location": at}
        for at, types in sorted(locations.items())
        for t in sorted(types)
    ]
    filters = filters_of(self, {"location": lambda o: [o["Location"]], "instance-type": lambda o: [o["InstanceType"]]})
    page, token = page_of(self, [(n, o) for n, o in enumerate(offers, 1) if passes(o, filters)])
    return ActionResult({"InstanceTypeOfferings": page, "NextToken": token})


def install() -> None:
    # Under a name that is no region: moto then accepts subnets there, and makes no default subnets.
    RegionsAndZonesBackend.zones["local-zones"] = [z.zone for z in ZONES.values() if z.is_local]
    for action in (
        describe_availability_zones,
        modify_availability_zone_group,
        create_subnet,
        describe_instance_type_offerings,
    ):
        hook(EC2Response, action.__name__, action)
    hook(EC2Backend, "create_subnet", backend_create_subnet, "backend_")
    hook(EC2Backend, "get_zone_by_name", backend_get_zone_by_name, "backend_")
