"""RunInstances, the launch templates it reads, and the quota that bounds it."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.responses import EC2Response
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import parse_user_data
from moto.servicequotas.models import ServiceQuotasBackend

from instances import view
from wire import STOCK, hook, refuse
from world import UNLIMITED_VCPUS, WORLD, ZONES, Launch

MAX_USER_DATA_BYTES = 16 * 1024
ON_DEMAND_STANDARD = "L-1216C47A"


def template_version(response: Any) -> Any:
    """The launch template version that the call names, or None if it names none."""
    given = response._get_param("LaunchTemplate")
    if not given:
        return None
    template_id, name = given.get("LaunchTemplateId"), given.get("LaunchTemplateName")
    if bool(template_id) == bool(name):
        raise refuse("InvalidParameterCombination", "Specify either a launch template ID or a launch template name")
    backend = response.ec2_backend
    template = backend.get_launch_template(template_id) if template_id else backend.get_launch_template_by_name(name)
    version = str(given.get("Version") or "$Default")
    numbers = {"$Default": template.default_version_number, "$Latest": template.latest_version_number}
    number = numbers.get(version, int(version) if version.isascii() and version.isdigit() else 0)
    if not 1 <= number <= len(template.versions):
        raise refuse(
            "InvalidLaunchTemplateId.VersionNotFound",
            f"Could not find launch template version {version} of {template.id}",
        )
    return template.versions[number - 1]


def target(response: Any, version: Any) -> tuple[str, str, Any]:
    """(zone, instance type, subnet or None) of a RunInstances call."""
    data = version.data if version else {}
    type_ = response._get_param("InstanceType") or data.get("InstanceType") or "m1.small"
    nics = response._get_param("NetworkInterfaces", []) or []
    subnet_id = response._get_param("SubnetId") or next((n["SubnetId"] for n in nics if "SubnetId" in n), None)
    if subnet_id:
        subnet = response.ec2_backend.get_subnet(subnet_id)
        return subnet.availability_zone, type_, subnet
    zone = response._get_param("Placement.AvailabilityZone") or f"{response.region}a"
    return zone, type_, None


def run_instances(self: Any) -> ActionResult:
    version = template_version(self)
    zone, type_, subnet = target(self, version)
    least, most = _counts(self)
    _check_parameters(self, version, zone, type_, subnet)
    self.error_on_dryrun()

    token = self._get_param("ClientToken") or ""
    given = {k: v for k, v in self.params.items() if k not in ("ClientToken", "DryRun")}
    fingerprint = json.dumps(given, sort_keys=True, default=str)
    # Idempotency is zonal: the same token in another zone is another launch.
    earlier = WORLD.launches.get((token, zone)) if token else None
    if earlier is not None:
        if earlier.fingerprint != fingerprint:
            raise refuse(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        self.call["replayed"] = True
        return _reservation(self, earlier)

    count = _how_many(zone, type_, subnet, least, most)
    self.params["MinCount"] = self.params["MaxCount"] = count
    before = set(WORLD.records)
    try:
        STOCK["run_instances"](self)
    except BaseException:
        _undo(self.ec2_backend, before)
        raise
    records = [r for i, r in WORLD.records.items() if i not in before]
    for record in records:
        record.token = record.instance.client_token = token
    launch = Launch(fingerprint, records[0].reservation_id, records)
    if token:
        WORLD.launches[token, zone] = launch
    self.call["launched"] = count
    return _reservation(self, launch)


def _counts(response: Any) -> tuple[int, int]:
    least, most = response._get_int_param("MinCount"), response._get_int_param("MaxCount")
    if least is None or most is None:
        raise refuse("MissingParameter", "The request must contain the parameters MinCount and MaxCount")
    if not 1 <= least <= most:
        raise refuse("InvalidParameterValue", f"Invalid instance counts: MinCount {least}, MaxCount {most}")
    return least, most


def _check_parameters(response: Any, version: Any, zone: str, type_: str, subnet: Any) -> None:
    if type_ not in INSTANCE_TYPES:
        raise refuse("InvalidParameterValue", f"Invalid value '{type_}' for InstanceType.")
    if zone not in ZONES:
        raise refuse("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
    image = response._get_param("ImageId") or (version.image_id if version else None)
    if not image:
        raise refuse("MissingParameter", "The request must contain the parameter ImageId")
    if not re.fullmatch(r"ami-[0-9a-f]{8,17}", image):
        raise refuse("InvalidAMIID.Malformed", f'Invalid id: "{image}"')
    if len(response._get_param("ClientToken") or "") > 64:
        raise refuse("InvalidParameterValue", "The client token may have at most 64 characters")
    data = parse_user_data(response._get_param("UserData"))
    if data is not None and len(base64.b64decode(str(data))) > MAX_USER_DATA_BYTES:
        raise refuse("InvalidParameterValue", f"User data is limited to {MAX_USER_DATA_BYTES} bytes")
    if subnet is None and ZONES[zone].is_local:
        raise refuse("MissingInput", f"No default subnet for availability zone: '{zone}'.")


def _how_many(zone: str, type_: str, subnet: Any, least: int, most: int) -> int:
    """The largest number between least and most that zone, quota and subnet allow, or EC2's refusal."""
    if type_ not in WORLD.offerings[zone]:
        others = ", ".join(z for z in WORLD.usable_zones() if type_ in WORLD.offerings[z])
        raise refuse(
            "Unsupported",
            f"Your requested instance type ({type_}) is not supported in your requested Availability Zone ({zone}). "
            f"Please retry your request by not specifying an Availability Zone or choosing {others}.",
        )
    quota = WORLD.free_quota(type_)
    if quota is not None and quota < (least if WORLD.quota_partial else most):
        raise refuse(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {WORLD.vcpu_quota} allows for the "
            "instance bucket that the specified instance type belongs to.",
        )
    addresses = subnet.available_ip_address_count if subnet else None
    if addresses is not None and addresses < least:
        raise refuse(
            "InsufficientFreeAddressesInSubnet",
            f"There are not enough free addresses in subnet '{subnet.id}' to satisfy the requested number of "
            "instances.",
        )
    free = WORLD.free_capacity(zone, type_)
    if free is not None and free < least:
        raise refuse(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {type_} capacity in the Availability Zone you requested ({zone}). "
            "Our system will be working on provisioning additional capacity.",
        )
    return min([most] + [n for n in (quota, addresses, free) if n is not None])


def _undo(backend: Any, before: set[str]) -> None:
    """A launch that failed half-way leaves nothing."""
    for record in [r for i, r in WORLD.records.items() if i not in before]:
        WORLD._end(record)
        WORLD._forget(record)
    known = {r.reservation_id for r in WORLD.records.values()}
    for reservation in [r for i, r in list(backend.reservations.items()) if i not in known]:
        for instance in reservation.instances:
            instance.terminate()
        del backend.reservations[reservation.id]


def _reservation(response: Any, launch: Launch) -> ActionResult:
    return ActionResult(
        {
            "ReservationId": launch.reservation_id,
            "OwnerId": response.ec2_backend.account_id,
            "Groups": [],
            "Instances": [view(r) for r in launch.records],
        }
    )


def backend_run_instances(
    self: Any, image_id: Any, count: int, user_data: Any, security_group_names: Any, **kwargs: Any
) -> Any:
    nics = kwargs.get("nics") or []
    reservation = STOCK["backend_run_instances"](self, image_id, count, user_data, security_group_names, **kwargs)
    if not any("NetworkInterfaceId" in n or n.get("DeleteOnTermination") is False for n in nics):
        for nic in (n for i in reservation.instances for n in i.nics.values()):
            nic.delete_on_termination = True
    WORLD.adopt(self, reservation)
    return reservation


def create_launch_template_version(self: Any) -> ActionResult:
    """moto ignores SourceVersion, and keeps user data unparsed."""
    data = self._get_param("LaunchTemplateData", {}) or {}
    if "UserData" in data:
        data["UserData"] = parse_user_data(data["UserData"])
    if source := self._get_param("SourceVersion"):
        self.params["LaunchTemplate"] = {
            k: v for k, v in self.params.items() if k.startswith("LaunchTemplate") and k != "LaunchTemplateData"
        }
        self.params["LaunchTemplate"]["Version"] = source
        data = {**template_version(self).data, **data}
    self.params["LaunchTemplateData"] = data
    return STOCK["create_launch_template_version"](self)


def get_service_quota(self: Any, service_code: str, quota_code: str) -> dict[str, Any]:
    if (service_code, quota_code) != ("ec2", ON_DEMAND_STANDARD):
        return STOCK["get_service_quota"](self, service_code, quota_code)
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{self.region_name}:{self.account_id}:ec2/{quota_code}",
        "QuotaCode": quota_code,
        "QuotaName": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        "Value": float(UNLIMITED_VCPUS if WORLD.vcpu_quota is None else WORLD.vcpu_quota),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "UsageMetric": {
            "MetricNamespace": "AWS/Usage",
            "MetricName": "ResourceCount",
            "MetricDimensions": {
                "Class": "Standard/OnDemand",
                "Resource": "vCPU",
                "Service": "EC2",
                "Type": "Resource",
            },
            "MetricStatisticRecommendation": "Maximum",
        },
    }


def install() -> None:
    # moto says "pending" in every answer to RunInstances; a replay must tell the state of now.
    EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop("RunInstances.Reservation.Instances.Instance.State")
    hook(EC2Response, "run_instances", run_instances)
    hook(EC2Response, "create_launch_template_version", create_launch_template_version)
    hook(EC2Backend, "run_instances", backend_run_instances, "backend_")
    hook(ServiceQuotasBackend, "get_service_quota", get_service_quota)
