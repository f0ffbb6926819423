"""Instances after their launch: described, tagged, terminated."""

from __future__ import annotations

import re
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidInstanceIdError
from moto.ec2.models import EC2Backend
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.instances import InstanceState
from moto.ec2.responses import EC2Response
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from wire import STOCK, filters_of, hook, page_of, passes, refuse
from world import SHUTTING_DOWN, TERMINATED, WORLD, ZONES, Record


class Gone:
    """A terminated instance as EC2 shows it: still there, without network and disks."""

    subnet_id = vpc_id = private_ip_address = public_ip_address = public_ip = None
    private_dns_name = public_dns_name = ""
    network_interfaces: list[Any] = []
    block_device_mappings: list[Any] = []
    security_groups: list[Any] = []

    def __init__(self, instance: Any) -> None:
        self._instance = instance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._instance, name)


def view(record: Record) -> Any:
    return Gone(record.instance) if record.code == TERMINATED else record.instance


INSTANCE_FILTERS = {
    "architecture": lambda i, r: [i.architecture],
    "availability-zone": lambda i, r: [r.zone],
    "availability-zone-id": lambda i, r: [ZONES[r.zone].zone.zone_id if r.zone in ZONES else None],
    "block-device-mapping.volume-id": lambda i, r: [b["Ebs"].volume_id for b in i.block_device_mappings],
    "capacity-reservation-id": lambda i, r: [],
    "client-token": lambda i, r: [r.token or None],
    "dns-name": lambda i, r: [i.public_dns_name],
    "host-id": lambda i, r: [i.placement.host_id],
    "image-id": lambda i, r: [i.image_id],
    "instance-id": lambda i, r: [r.id],
    "instance-lifecycle": lambda i, r: [i.lifecycle],
    "instance-state-code": lambda i, r: [i._state.code],
    "instance-state-name": lambda i, r: [i._state.name],
    "instance-type": lambda i, r: [r.type],
    "instance.group-id": lambda i, r: [g.id for g in i.security_groups],
    "instance.group-name": lambda i, r: [g.name for g in i.security_groups],
    "ip-address": lambda i, r: [i.public_ip_address],
    "key-name": lambda i, r: [i.key_name],
    "launch-index": lambda i, r: [i.ami_launch_index],
    "launch-time": lambda i, r: [i.launch_time.strftime("%Y-%m-%dT%H:%M:%S.000Z")],
    "network-interface.network-interface-id": lambda i, r: [n.id for n in i.network_interfaces],
    "network-interface.private-ip-address": lambda i, r: [n.private_ip_address for n in i.network_interfaces],
    "network-interface.subnet-id": lambda i, r: [n.subnet_id for n in i.network_interfaces],
    "network-interface.vpc-id": lambda i, r: [n.vpc_id for n in i.network_interfaces],
    "owner-id": lambda i, r: [i.owner_id],
    "private-dns-name": lambda i, r: [i.private_dns_name],
    "private-ip-address": lambda i, r: [i.private_ip_address],
    "reservation-id": lambda i, r: [r.reservation_id],
    "state-reason-code": lambda i, r: [i.state_reason.code or None],
    "subnet-id": lambda i, r: [i.subnet_id],
    "tag-key": lambda i, r: list(r.tags()),
    "tenancy": lambda i, r: [i.placement.tenancy],
    "vpc-id": lambda i, r: [i.vpc_id],
}
# The filters as `passes` wants them: functions of a record.
RECORD_FILTERS = {name: (lambda r, read=read: read(view(r), r)) for name, read in INSTANCE_FILTERS.items()}
RECORD_FILTERS["tag:"] = lambda key, r: [r.tags().get(key)]


def describe_instances(self: Any) -> Any:
    self.error_on_dryrun()
    ids = self._get_param("InstanceIds", []) or []
    if ids and self._get_param("MaxResults") is not None:
        raise refuse(
            "InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults"
        )
    filters = filters_of(self, RECORD_FILTERS)
    now = WORLD.now()
    found = by_id(ids, now) if ids else WORLD.records.values()
    shown = [
        (r.serial, r) for r in found if now >= r.visible_at and r.backend is self.ec2_backend and passes(r, filters)
    ]
    page, token = page_of(self, sorted(shown, key=lambda pair: pair[0]))
    self.call["returned"] = len(page)
    return _describe_xml(self, page, token)


def _describe_xml(response: Any, records: list[Record], token: str | None) -> str:
    """moto needs about 2 ms to serialise an instance. So each is serialised once per state and put, as text, into a
    frame that moto made from the model as well."""
    reservations: dict[str, list[Record]] = {}
    for record in records:
        reservations.setdefault(record.reservation_id, []).append(record)
    owner = response.ec2_backend.account_id
    frame = {"ReservationId": "r-here", "OwnerId": owner, "Groups": [], "Instances": [{"InstanceId": "i-here"}]}
    _, headers, body = response.serialized(ActionResult({"Reservations": [frame], "NextToken": token}))
    response.response_headers.update(headers)
    before, item, after = _inside("reservationSet", body)
    head, _, tail = _inside("instancesSet", item)
    return (
        before
        + "".join(
            head.replace("r-here", i) + "".join(_instance_xml(response, r) for r in members) + tail.replace("r-here", i)
            for i, members in reservations.items()
        )
        + after
    )


def _inside(element: str, xml: str) -> tuple[str, str, str]:
    """What is before, in, and after the element's content."""
    start, end = xml.index(f"<{element}>") + len(f"<{element}>"), xml.rindex(f"</{element}>")
    return xml[:start], xml[start:end].strip(), xml[end:]


def _instance_xml(response: Any, record: Record) -> str:
    key = (record.code, WORLD.epoch)
    if key not in record.xml:
        _, _, body = response.serialized(ActionResult({"Reservations": [{"Instances": [view(record)]}]}))
        record.xml = {key: _inside("instancesSet", body)[1]}
    return record.xml[key]


def by_id(ids: list[str], now: float) -> list[Record]:
    """The records of all of the IDs, or InvalidInstanceID: one that is too young to be seen is not found either."""
    for i in ids:
        if not re.fullmatch(r"i-[0-9a-f]{8}([0-9a-f]{9})?", i):
            raise refuse("InvalidInstanceID.Malformed", f'Invalid id: "{i}"')
    found = {i: WORLD.visible(i, now) for i in ids}
    if missing := [i for i, r in found.items() if r is None]:
        raise InvalidInstanceIdError(missing)
    return list(found.values())


def backend_describe_instance_status(
    self: Any, instance_ids: list[str], include_all_instances: bool, filters: Any
) -> Any:
    now = WORLD.now()
    if instance_ids:
        by_id(instance_ids, now)
    found = STOCK["backend_describe_instance_status"](self, instance_ids, include_all_instances, filters)
    return [i for i in found if WORLD.visible(i.id, now)]


def get_tags(self: Any) -> list[dict[str, str]]:
    """As moto's, without running a pattern over every tag of every resource."""
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "")
    tags = self.ec2_backend.tags.get(self.id, {})
    return [{"resource_id": self.id, "key": k, "value": v, "resource_type": kind} for k, v in tags.items()]


def _tagging(name: str) -> Any:
    def tags(self: Any) -> Any:
        by_id([i for i in self._get_param("Resources", []) if i.startswith("i-")], WORLD.now())
        return STOCK[name](self)

    return tags


def terminate_instances(self: Any) -> ActionResult:
    ids = self._get_param("InstanceIds", []) or []
    if not ids:
        raise refuse("MissingParameter", "The request must contain the parameter instancesSet")
    records = by_id(ids, WORLD.now())
    self.error_on_dryrun()
    changed = self.ec2_backend.terminate_instances([r.id for r in records])
    self.call["terminated"] = len([1 for _, before in changed if before.code not in (SHUTTING_DOWN, TERMINATED)])
    _tell_neighbours(self, ids)
    return ActionResult(
        {
            "TerminatingInstances": [
                {
                    "InstanceId": i.id,
                    "CurrentState": {"Code": i._state.code, "Name": i._state.name},
                    "PreviousState": before,
                }
                for i, before in changed
            ]
        }
    )


def backend_terminate_instances(self: Any, instance_ids: list[str]) -> list[tuple[Any, InstanceState]]:
    records = [WORLD.records[i] for i in instance_ids]
    for record in records:
        if record.instance.disable_api_termination is True:
            raise refuse(
                "OperationNotPermitted",
                f"The instance '{record.id}' may not be terminated: it is protected",
            )
    changed = []
    for record in records:
        changed.append((record.instance, InstanceState(record.state, record.code)))
        if record.code not in (SHUTTING_DOWN, TERMINATED):
            record.enter(SHUTTING_DOWN)
            record.ends_at = WORLD.now() + WORLD.timing.shutdownSeconds
    return changed


def _tell_neighbours(response: Any, ids: list[str]) -> None:
    from moto.autoscaling import autoscaling_backends
    from moto.elbv2 import elbv2_backends

    for backends in (autoscaling_backends, elbv2_backends):
        backends[response.current_account][response.region].notify_terminate_instances(ids)


def install() -> None:
    for action in (describe_instances, terminate_instances):
        hook(EC2Response, action.__name__, action)
    for name in ("create_tags", "delete_tags"):
        hook(EC2Response, name, _tagging(name))
    hook(EC2Backend, "terminate_instances", backend_terminate_instances, "backend_")
    hook(EC2Backend, "describe_instance_status", backend_describe_instance_status, "backend_")
    hook(TaggedEC2Resource, "get_tags", get_tags)
