"""Tests of the emulator, over boto3 and HTTP against real server processes: `python -m unittest` in this directory.

`SubsetOnBed` and `SubsetOnStock` run the same tests on the emulator and on moto as it is: what both can do, both must
do alike, or the emulator has been bent.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError
from botocore.httpsession import EndpointConnectionError

REGION = "us-west-2"
PHX, LAX_A, LAX_B = f"{REGION}-phx-2a", f"{REGION}-lax-1a", f"{REGION}-lax-1b"
IMAGE = "ami-0fedcba9876543210"
USER_DATA = "#!/bin/sh\necho früh da\n"
DEADLINE = 10


class Server:
    """One emulator process, which ends with its standard input."""

    def __init__(self, *flags: str) -> None:
        script = Path(__file__).with_name("ec2.py")
        command = [sys.executable, str(script), "--port", "0", "--exit-with-stdin", *flags]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait(self) -> None:
        line = self.process.stdout.readline().strip()
        assert line.startswith("listening on http://127.0.0.1:"), line
        self.url = line.removeprefix("listening on ")

    def stop(self) -> int:
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(timeout=DEADLINE)

    def client(self, service: str = "ec2"):
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=DEADLINE),
        )  # fmt: skip

    def bed(self, method: str, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_bed/{path}", method=method, data=data)
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.load(answer)


BED = STOCK = None


def setUpModule() -> None:
    global BED, STOCK
    BED, STOCK = Server(), Server("--stock")
    BED.wait()
    STOCK.wait()


def tearDownModule() -> None:
    assert BED.stop() == 0 and STOCK.stop() == 0


def until(check, message: str):
    """The first true answer of `check`."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if answer := check():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE} s: {message}")


def instances_of(answer) -> list[dict]:
    return [i for r in answer["Reservations"] for i in r["Instances"]]


def ids_of(answer) -> list[str]:
    return [i["InstanceId"] for i in (answer["Instances"] if "Instances" in answer else instances_of(answer))]


def filters(**values) -> list[dict]:
    """`filters(tag__pool="p", subnet_id=["a", "b"])`"""
    names = {k: k.replace("__", ":").replace("_", "-") for k in values}
    return [{"Name": names[k], "Values": v if isinstance(v, list) else [v]} for k, v in values.items()]


def tag_spec(**tags) -> list[dict]:
    return [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]


class Case(unittest.TestCase):
    @contextmanager
    def refused(self, code: str, status: int | None = None):
        with self.assertRaises(ClientError) as caught:
            yield caught
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        if status is not None:
            self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], status)


class BedCase(Case):
    """Starts from a reset emulator with a VPC, subnets and a launch template."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.ec2 = BED.client()

    def setUp(self) -> None:
        BED.bed("POST", "reset")
        self.fixture = BED.bed(
            "POST",
            "fixture",
            {"name": "burst", "imageId": IMAGE, "userData": USER_DATA, "instanceTags": {"team": "ops"}},
        )
        self.subnets = self.fixture["subnets"]

    def run_(self, count: int = 1, least: int | None = None, zone: str = PHX, **more):
        """RunInstances by the fixture's template."""
        call = {
            "MinCount": least or count, "MaxCount": count, "InstanceType": "c6i.large", "SubnetId": self.subnets[zone],
            "LaunchTemplate": {"LaunchTemplateName": "burst", "Version": "1"},
        } | more  # fmt: skip
        return self.ec2.run_instances(**call)

    def states(self, **kwargs) -> dict[str, str]:
        found = instances_of(self.ec2.describe_instances(**kwargs))
        return {i["InstanceId"]: i["State"]["Name"] for i in found}

    def stats(self) -> dict:
        return BED.bed("GET", "stats")

    def last_call(self, action: str) -> dict:
        def calls() -> list[dict]:
            return [c for c in BED.bed("GET", "calls")["calls"] if c["action"] == action]

        # A call whose answer was lost is logged a moment after its connection was closed.
        until(lambda: calls() != [], f"{action} is logged")
        return calls()[-1]


class Zones(BedCase):
    def zones(self, **kwargs) -> dict[str, dict]:
        return {z["ZoneName"]: z for z in self.ec2.describe_availability_zones(**kwargs)["AvailabilityZones"]}

    def test_local_zones_show_their_group_parent_and_border_group(self):
        zones = self.zones()
        self.assertEqual(set(zones), {f"{REGION}{x}" for x in "abcd"} | {PHX, LAX_A, LAX_B})
        phx = zones[PHX]
        self.assertEqual(phx["GroupName"], f"{REGION}-phx-2")
        self.assertEqual(phx["NetworkBorderGroup"], f"{REGION}-phx-2")
        self.assertEqual(phx["ZoneType"], "local-zone")
        self.assertEqual(phx["OptInStatus"], "opted-in")
        self.assertEqual(phx["State"], "available")
        self.assertEqual(zones[phx["ParentZoneName"]]["ZoneId"], phx["ParentZoneId"])
        self.assertEqual(zones[LAX_A]["GroupName"], zones[LAX_B]["GroupName"])
        self.assertEqual(zones[f"{REGION}a"]["OptInStatus"], "opt-in-not-required")
        self.assertEqual(zones[f"{REGION}a"]["NetworkBorderGroup"], REGION)
        self.assertNotIn("ParentZoneName", zones[f"{REGION}a"])

    def test_zones_are_filtered_and_named(self):
        self.assertEqual(set(self.zones(Filters=filters(zone_type="local-zone"))), {PHX, LAX_A, LAX_B})
        self.assertEqual(set(self.zones(Filters=filters(group_name="*-lax-1"))), {LAX_A, LAX_B})
        self.assertEqual(set(self.zones(ZoneNames=[PHX])), {PHX})
        self.assertEqual(set(self.zones(ZoneIds=["usw2-lax1-az2"])), {LAX_B})
        with self.refused("InvalidParameterValue"):
            self.zones(ZoneNames=["us-west-2z"])
        with self.refused("InvalidParameterValue"):
            self.zones(Filters=filters(colour="blue"))

    def test_a_group_that_is_not_opted_in_is_hidden_and_takes_no_subnet_until_it_is(self):
        answer = BED.bed("PUT", "zones", {f"{REGION}-lax-1": {"optIn": "not-opted-in"}})
        self.assertEqual(answer[LAX_A]["optIn"], "not-opted-in")
        self.assertEqual(set(self.zones()) & {PHX, LAX_A, LAX_B}, {PHX})
        self.assertEqual(self.zones(AllAvailabilityZones=True)[LAX_A]["OptInStatus"], "not-opted-in")
        with self.refused("InvalidParameterValue"):
            self.zones(ZoneNames=[LAX_A])
        subnet = {"VpcId": self.fixture["vpc"], "CidrBlock": "10.64.240.0/24", "AvailabilityZone": LAX_A}
        with self.refused("InvalidParameterValue"):
            self.ec2.create_subnet(**subnet)
        with self.refused("InvalidParameterValue"):
            self.ec2.create_subnet(**(subnet | {"AvailabilityZone": "us-west-2z"}))
        offered = self.ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=filters(location=LAX_A)
        )
        self.assertEqual(offered["InstanceTypeOfferings"], [])

        self.assertTrue(
            self.ec2.modify_availability_zone_group(GroupName=f"{REGION}-lax-1", OptInStatus="opted-in")["Return"]
        )
        self.assertEqual(self.zones()[LAX_B]["OptInStatus"], "opted-in")
        made = self.ec2.create_subnet(**subnet)["Subnet"]
        self.assertEqual((made["AvailabilityZone"], made["AvailableIpAddressCount"]), (LAX_A, 251))
        self.assertFalse(made["DefaultForAz"])
        del subnet["AvailabilityZone"]
        by_id = self.ec2.create_subnet(
            **(subnet | {"CidrBlock": "10.64.241.0/24", "AvailabilityZoneId": "usw2-phx2-az1"})
        )
        self.assertEqual(by_id["Subnet"]["AvailabilityZone"], PHX)

    def test_only_an_existing_group_can_be_opted_in_and_none_out(self):
        with self.refused("InvalidAZGroup.NotFound"):
            self.ec2.modify_availability_zone_group(GroupName="us-west-2-nowhere-1", OptInStatus="opted-in")
        with self.refused("InvalidParameterValue"):
            self.ec2.modify_availability_zone_group(GroupName=f"{REGION}-lax-1", OptInStatus="not-opted-in")

    def test_a_zone_can_be_constrained(self):
        BED.bed("PUT", "zones", {PHX: {"state": "constrained"}})
        self.assertEqual(self.zones()[PHX]["State"], "constrained")
        self.assertEqual(set(self.zones(Filters=filters(state="constrained"))), {PHX})

    def test_offerings_are_per_zone_filtered_and_paged(self):
        def offered(**more):
            call = {"LocationType": "availability-zone"} | more
            return self.ec2.describe_instance_type_offerings(**call)

        found = offered(Filters=filters(location=[PHX, f"{REGION}a"], instance_type="c6i.4xlarge"))[
            "InstanceTypeOfferings"
        ]
        self.assertEqual({o["Location"] for o in found}, {f"{REGION}a", PHX})
        BED.bed("PUT", "offerings", {"zone": PHX, "types": ["c5.4xlarge"]})
        found = offered(Filters=filters(location=PHX))["InstanceTypeOfferings"]
        self.assertEqual([o["InstanceType"] for o in found], ["c5.4xlarge"])
        found = self.ec2.describe_instance_type_offerings(Filters=filters(instance_type="c6i.4xlarge"))[
            "InstanceTypeOfferings"
        ]
        self.assertEqual(found, [{"InstanceType": "c6i.4xlarge", "LocationType": "region", "Location": REGION}])
        with self.refused("InvalidParameterValue"):
            offered(Filters=filters(colour="blue"))
        page = offered(Filters=filters(location=LAX_A), MaxResults=10)
        rest = offered(Filters=filters(location=LAX_A), NextToken=page["NextToken"])
        everything = offered(Filters=filters(location=LAX_A))["InstanceTypeOfferings"]
        self.assertEqual(page["InstanceTypeOfferings"] + rest["InstanceTypeOfferings"], everything)


class Launching(BedCase):
    def test_a_launch_uses_the_template_at_its_version(self):
        second = BED.bed("POST", "fixture", {"name": "burst", "imageId": "ami-00000000000000002", "userData": "two"})
        self.assertEqual(second["launchTemplate"]["version"], 2)
        self.assertEqual(second["subnets"], self.subnets)
        run = self.run_(2, TagSpecifications=tag_spec(pool="p", team="dev"))
        self.assertEqual({i["State"]["Name"] for i in run["Instances"]}, {"pending"})
        for i in instances_of(self.ec2.describe_instances(InstanceIds=ids_of(run))):
            tags = {t["Key"]: t["Value"] for t in i["Tags"]}
            self.assertEqual(i["ImageId"], IMAGE)
            self.assertEqual((tags["pool"], tags["team"]), ("p", "dev"))
            self.assertEqual(tags["aws:ec2launchtemplate:id"], self.fixture["launchTemplate"]["id"])
            self.assertEqual((i["Placement"]["AvailabilityZone"], i["SubnetId"]), (PHX, self.subnets[PHX]))
            self.assertTrue(i["PrivateIpAddress"].startswith("10.64."))
        for template in (
            {"LaunchTemplateName": "burst", "Version": "2"},
            {"LaunchTemplateId": second["launchTemplate"]["id"], "Version": "$Latest"},
        ):
            launched = ids_of(self.run_(LaunchTemplate=template))[0]
            seen = {i["id"]: i for i in BED.bed("GET", "instances")}[launched]
            self.assertEqual((seen["imageId"], seen["userData"]), ("ami-00000000000000002", "two"))
        by_default = ids_of(self.run_(LaunchTemplate={"LaunchTemplateName": "burst"}))[0]
        self.assertEqual({i["id"]: i["userData"] for i in BED.bed("GET", "instances")}[by_default], USER_DATA)

    def test_an_unknown_template_or_version_is_refused(self):
        for template, code in (
            ({"LaunchTemplateName": "nobody"}, "InvalidLaunchTemplateName.NotFoundException"),
            ({"LaunchTemplateId": "lt-0123456789abcdef0"}, "InvalidLaunchTemplateId.NotFound"),
            ({"LaunchTemplateName": "burst", "Version": "0"}, "InvalidLaunchTemplateId.VersionNotFound"),
            ({"LaunchTemplateName": "burst", "Version": "7"}, "InvalidLaunchTemplateId.VersionNotFound"),
            ({"LaunchTemplateName": "burst", "Version": "seven"}, "InvalidLaunchTemplateId.VersionNotFound"),
        ):
            with self.subTest(template), self.refused(code, 400):
                self.run_(LaunchTemplate=template)

    def test_a_template_version_inherits_from_its_source(self):
        self.ec2.create_launch_template_version(
            LaunchTemplateName="burst", SourceVersion="1", LaunchTemplateData={"InstanceType": "m6i.large"}
        )
        run = self.run_(LaunchTemplate={"LaunchTemplateName": "burst", "Version": "2"}, InstanceType="c5.large")
        self.assertEqual((run["Instances"][0]["ImageId"], run["Instances"][0]["InstanceType"]), (IMAGE, "c5.large"))
        self.assertEqual(BED.bed("GET", "instances")[0]["userData"], USER_DATA)
        plain = self.ec2.run_instances(
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnets[PHX],
            LaunchTemplate={"LaunchTemplateName": "burst", "Version": "2"},
        )
        self.assertEqual(plain["Instances"][0]["InstanceType"], "m6i.large")

    def test_capacity_gives_part_of_what_is_asked_then_nothing(self):
        BED.bed("PUT", "capacity", {"zone": PHX, "type": "c6i.large", "count": 3})
        self.assertEqual(len(ids_of(self.run_(5, least=1))), 3)
        self.assertEqual(self.last_call("RunInstances")["launched"], 3)
        with self.refused("InsufficientInstanceCapacity", 500):
            self.run_(5, least=1)
        self.run_(1, InstanceType="c6i.xlarge")
        self.run_(1, zone=LAX_A)
        BED.bed(
            "PUT", "capacity", [{"zone": PHX, "type": "c6i.large", "count": 5}, {"zone": PHX, "type": "*", "count": 5}]
        )
        with self.refused("InsufficientInstanceCapacity", 500):
            self.run_(2)
        self.assertEqual(len(ids_of(self.run_(2, least=1))), 1)
        BED.bed("PUT", "capacity", [{"zone": PHX, "type": t, "count": None} for t in ("c6i.large", "*")])
        self.assertEqual(len(ids_of(self.run_(20))), 20)

    def test_terminated_instances_give_capacity_and_addresses_back(self):
        before = self.free(PHX)
        BED.bed("PUT", "timing", {"shutdownSeconds": 1.5})
        BED.bed("PUT", "capacity", {"zone": PHX, "type": "c6i.large", "count": 2})
        ids = ids_of(self.run_(2))
        self.assertEqual(self.free(PHX), before - 2)
        self.ec2.terminate_instances(InstanceIds=ids)
        with self.refused("InsufficientInstanceCapacity"):
            self.run_(1)
        until(lambda: set(self.states(InstanceIds=ids).values()) == {"terminated"}, "terminated")
        self.assertEqual(self.free(PHX), before)
        self.assertEqual(len(ids_of(self.run_(2))), 2)

    def free(self, zone: str) -> int:
        return self.ec2.describe_subnets(SubnetIds=[self.subnets[zone]])["Subnets"][0]["AvailableIpAddressCount"]

    def test_a_type_that_the_zone_does_not_offer_is_unsupported(self):
        BED.bed("PUT", "offerings", {"zone": PHX, "types": ["c5.4xlarge"]})
        with self.refused("Unsupported", 400):
            self.run_()
        with self.refused("InvalidParameterValue", 400):
            self.run_(InstanceType="c6i.gigantic")

    def test_the_vcpu_quota_counts_every_zone_and_says_so(self):
        BED.bed("PUT", "quota", {"vcpus": 12})
        self.run_(4, zone=LAX_A)
        self.assertEqual(len(ids_of(self.run_(4, least=1))), 2)
        with self.refused("VcpuLimitExceeded", 400):
            self.run_()
        BED.bed("PUT", "quota", {"vcpus": 14, "partial": False})
        with self.refused("VcpuLimitExceeded", 400):
            self.run_(2, least=1)
        quota = BED.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]
        self.assertEqual((quota["Value"], quota["UsageMetric"]["MetricDimensions"]["Resource"]), (14.0, "vCPU"))
        self.assertEqual(self.stats()["calls"]["GetServiceQuota"], 1)
        BED.bed("PUT", "quota", {"vcpus": None})
        self.run_(20)

    def test_fixture_shares_a_network_and_takes_subnet_ids(self) -> None:
        """Manifests name subnets: they can be made with the IDs that stand there, once for several templates."""
        wanted = {"network": "shop", "subnetIds": {PHX: "subnet-0f1e2d3c4b5a69788"}}
        one = BED.bed("POST", "fixture", {"name": "one", **wanted})
        two = BED.bed("POST", "fixture", {"name": "two", **wanted})
        self.assertEqual(one["subnets"], two["subnets"])
        self.assertEqual(one["subnets"][PHX], "subnet-0f1e2d3c4b5a69788")
        self.assertEqual(len(set(one["subnets"].values())), len(one["subnets"]))

    def test_a_full_subnet_refuses_before_anything_is_launched(self):
        small = BED.bed("POST", "fixture", {"name": "small", "subnetPrefix": 28})["subnets"][PHX]
        self.run_(9, SubnetId=small)
        with self.refused("InsufficientFreeAddressesInSubnet", 400):
            self.run_(3, SubnetId=small)
        self.assertEqual(self.stats()["instances"], {"running": 9})
        self.assertEqual(len(ids_of(self.run_(3, least=1, SubnetId=small))), 2)
        subnet = self.ec2.describe_subnets(SubnetIds=[small])["Subnets"][0]
        self.assertEqual(subnet["AvailableIpAddressCount"], 0)

    def test_addresses_are_never_given_out_twice(self):
        small = BED.bed("POST", "fixture", {"name": "small", "subnetPrefix": 28})["subnets"][PHX]
        BED.bed("PUT", "timing", {"forgetTerminatedSeconds": 0})
        for _ in range(3):
            self.ec2.terminate_instances(InstanceIds=ids_of(self.run_(8, SubnetId=small)))
            live = instances_of(self.ec2.describe_instances(InstanceIds=ids_of(self.run_(3, SubnetId=small))))
            self.assertEqual(len({i["PrivateIpAddress"] for i in live}), 3)
            self.ec2.terminate_instances(InstanceIds=[i["InstanceId"] for i in live])

    def test_nonsense_is_refused(self):
        for call, code in (
            ({"MinCount": 2, "MaxCount": 1}, "InvalidParameterValue"),
            ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
            ({"ImageId": "ami-burst"}, "InvalidAMIID.Malformed"),
            ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
            ({"UserData": "x" * 16385}, "InvalidParameterValue"),
        ):
            with self.subTest(call), self.refused(code, 400):
                self.run_(**call)
        self.assertEqual(self.stats()["instances"], {})

    def test_a_dry_run_says_it_would_work_and_launches_nothing(self):
        with self.refused("DryRunOperation", 412):
            self.run_(3, DryRun=True)
        with self.refused("InvalidLaunchTemplateName.NotFoundException", 400):
            self.run_(LaunchTemplate={"LaunchTemplateName": "nobody"}, DryRun=True)
        self.assertEqual(self.stats()["instances"], {})
        ids = ids_of(self.run_())
        with self.refused("DryRunOperation", 412):
            self.ec2.terminate_instances(InstanceIds=ids, DryRun=True)
        self.assertEqual(set(self.states().values()), {"running"})


class Tokens(BedCase):
    def test_the_same_call_returns_the_same_instances(self):
        first = ids_of(self.run_(3, ClientToken="t1"))
        again = self.run_(3, ClientToken="t1")
        self.assertEqual(ids_of(again), first)
        self.assertEqual({i["State"]["Name"] for i in again["Instances"]}, {"running"})
        self.assertEqual(len(self.states()), 3)
        call = self.last_call("RunInstances")
        self.assertEqual((call["replayed"], call["launched"], call["params"]["clientToken"]), (True, None, "t1"))

    def test_a_partial_launch_is_replayed_as_it_was(self):
        BED.bed("PUT", "capacity", {"zone": PHX, "type": "c6i.large", "count": 2})
        first = ids_of(self.run_(5, least=1, ClientToken="t1"))
        BED.bed("PUT", "capacity", {"zone": PHX, "type": "c6i.large", "count": None})
        self.assertEqual(ids_of(self.run_(5, least=1, ClientToken="t1")), first)
        self.assertEqual(len(first), 2)

    def test_other_arguments_under_the_token_are_refused(self):
        self.run_(2, ClientToken="t1")
        for other in ({"InstanceType": "c5.large"}, {"MaxCount": 3}, {"TagSpecifications": tag_spec(a="b")}):
            with self.subTest(other), self.refused("IdempotentParameterMismatch", 400):
                self.run_(**({"count": 2, "ClientToken": "t1"} | other))

    def test_tokens_are_per_zone_and_a_call_without_one_always_launches(self):
        self.run_(ClientToken="t1")
        self.run_(ClientToken="t1", zone=LAX_A)
        self.run_()
        self.run_()
        self.assertEqual(len(self.states()), 4)

    def test_instances_that_are_gone_are_returned_as_gone_and_not_replaced(self):
        BED.bed("PUT", "timing", {"forgetTerminatedSeconds": 0.2})
        first = ids_of(self.run_(2, ClientToken="t1"))
        self.ec2.terminate_instances(InstanceIds=first)
        for _ in range(2):
            again = self.run_(2, ClientToken="t1")
            self.assertEqual(ids_of(again), first)
            self.assertEqual({i["State"]["Name"] for i in again["Instances"]}, {"terminated"})
            until(lambda: not self.states(), "forgotten")

    def test_a_refused_launch_does_not_use_up_its_token(self):
        BED.bed("PUT", "capacity", {"zone": PHX, "type": "c6i.large", "count": 0})
        with self.refused("InsufficientInstanceCapacity"):
            self.run_(ClientToken="t1")
        BED.bed("PUT", "capacity", {"zone": PHX, "type": "c6i.large", "count": 1})
        self.assertEqual(len(ids_of(self.run_(ClientToken="t1"))), 1)


class Describing(BedCase):
    def test_pages_are_counted_in_instances_and_keep_their_place(self):
        first, second = ids_of(self.run_(7, TagSpecifications=tag_spec(pool="p"))), ids_of(self.run_(6))
        page = self.ec2.describe_instances(MaxResults=5)
        self.assertEqual(ids_of(page), first[:5])
        self.run_(1)
        page = self.ec2.describe_instances(MaxResults=5, NextToken=page["NextToken"])
        self.assertEqual(ids_of(page), first[5:] + second[:3])
        self.assertEqual(len(page["Reservations"]), 2)
        page = self.ec2.describe_instances(MaxResults=5, NextToken=page["NextToken"])
        self.assertEqual(len(ids_of(page)), 4)
        self.assertNotIn("NextToken", page)
        pages = self.ec2.get_paginator("describe_instances").paginate(
            Filters=filters(tag__pool="p"), PaginationConfig={"PageSize": 5}
        )
        self.assertEqual([i for p in pages for i in ids_of(p)], first)

    def test_bad_pages_are_refused(self):
        ids = ids_of(self.run_())
        for call, code in (
            ({"MaxResults": 4}, "InvalidParameterValue"),
            ({"MaxResults": 1001}, "InvalidParameterValue"),
            ({"MaxResults": 5, "NextToken": "!"}, "InvalidNextToken"),
            ({"MaxResults": 5, "InstanceIds": ids}, "InvalidParameterCombination"),
        ):
            with self.subTest(call), self.refused(code, 400):
                self.ec2.describe_instances(**call)

    def test_filters_are_anded_and_their_values_ored(self):
        a = ids_of(self.run_(2, TagSpecifications=tag_spec(pool="p", owner="x"), ClientToken="t1"))
        b = ids_of(self.run_(1, zone=LAX_A, TagSpecifications=tag_spec(pool="q"), InstanceType="m6i.large"))
        template = self.fixture["launchTemplate"]["id"]
        for wanted, chosen in (
            (a, filters(tag__pool="p")),
            (a + b, filters(tag__pool=["p", "q"])),
            (a + b, filters(tag__pool="?")),
            (a, filters(tag_key="owner")),
            (b, filters(subnet_id=self.subnets[LAX_A])),
            (b, filters(availability_zone=LAX_A, instance_state_name=["pending", "running"])),
            ([], filters(availability_zone=LAX_A, instance_state_name="terminated")),
            (a, filters(client_token=["t1", "t2"])),
            (a[:1], filters(instance_id=a[0])),
            (b, filters(instance_type="m6i.*")),
            (a + b, filters(vpc_id=self.fixture["vpc"], image_id=IMAGE)),
            (a + b, [{"Name": "tag:aws:ec2launchtemplate:id", "Values": [template]}]),
            ([], filters(tag__nobody="*")),
            ([], filters(capacity_reservation_id="cr-1")),
        ):
            with self.subTest(chosen):
                self.assertEqual(ids_of(self.ec2.describe_instances(Filters=chosen)), wanted)
        self.assertEqual(ids_of(self.ec2.describe_instances(InstanceIds=a, Filters=filters(instance_id=a[1]))), a[1:])

    def test_an_unknown_filter_and_too_many_values_are_refused(self):
        for name in ("colour", "launch-template", "tag-value"):
            with self.subTest(name), self.refused("InvalidParameterValue", 400):
                self.ec2.describe_instances(Filters=[{"Name": name, "Values": ["x"]}])
        with self.refused("FilterLimitExceeded", 400):
            self.ec2.describe_instances(Filters=filters(client_token=[f"t{n}" for n in range(201)]))

    def test_unknown_and_malformed_ids_are_refused(self):
        ids = ids_of(self.run_())
        with self.refused("InvalidInstanceID.NotFound", 400):
            self.ec2.describe_instances(InstanceIds=[*ids, "i-0123456789abcdef0"])
        with self.refused("InvalidInstanceID.Malformed", 400):
            self.ec2.describe_instances(InstanceIds=["mine"])

    def test_later_tags_show(self):
        ids = ids_of(self.run_())
        self.ec2.describe_instances()
        self.ec2.create_tags(Resources=ids, Tags=[{"Key": "late", "Value": "<&>"}])
        self.assertEqual(ids_of(self.ec2.describe_instances(Filters=filters(tag__late="<&>"))), ids)
        tags = instances_of(self.ec2.describe_instances(InstanceIds=ids))[0]["Tags"]
        self.assertIn({"Key": "late", "Value": "<&>"}, tags)
        with self.refused("InvalidInstanceID.NotFound", 400):
            self.ec2.create_tags(Resources=["i-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}])


class Time(BedCase):
    def test_instances_boot_after_a_delay_drawn_from_a_seed(self):
        boots = []
        for _ in range(2):
            BED.bed("POST", "reset")
            self.subnets = BED.bed("POST", "fixture", {"name": "burst"})["subnets"]
            BED.bed("PUT", "timing", {"bootSeconds": 2.0, "bootJitter": 0.2, "seed": 7})
            ids = ids_of(self.run_(5))
            self.assertEqual(set(self.states().values()), {"pending"})
            self.assertIsNone(BED.bed("GET", "instances")[0]["runningAt"])
            until(lambda: set(self.states(InstanceIds=ids).values()) == {"running"}, "all running")
            boots.append([parse(i["runningAt"]) - parse(i["launchedAt"]) for i in BED.bed("GET", "instances")])
        self.assertTrue(all(1.79 < b < 2.21 for b in boots[0]), boots)
        self.assertTrue(all(abs(a - b) < 0.01 for a, b in zip(*boots, strict=True)), boots)
        self.assertGreater(max(boots[0]) - min(boots[0]), 0.02)

    def test_a_young_instance_is_not_found_yet(self):
        BED.bed("PUT", "timing", {"visibleAfterSeconds": 2.5})
        old = ids_of(self.run_())
        until(lambda: old[0] in self.states(), "visible")
        young = ids_of(self.run_(ClientToken="t1"))
        self.assertEqual(list(self.states()), old)
        self.assertEqual(self.states(Filters=filters(client_token="t1")), {})
        for call in (self.ec2.describe_instances, self.ec2.terminate_instances):
            with self.refused("InvalidInstanceID.NotFound", 400):
                call(InstanceIds=old + young)
        with self.refused("InvalidInstanceID.NotFound", 400):
            self.ec2.describe_instance_status(InstanceIds=young)
        self.assertEqual([i["id"] for i in BED.bed("GET", "instances")], old + young)
        self.assertEqual(ids_of(self.run_(ClientToken="t1")), young)
        until(lambda: set(self.states()) == set(old + young), "visible")
        self.assertEqual(set(self.states().values()), {"running"})
        self.ec2.terminate_instances(InstanceIds=old + young)

    def test_termination_takes_its_time_and_is_forgotten_later(self):
        BED.bed("PUT", "timing", {"shutdownSeconds": 1.5, "forgetTerminatedSeconds": 2.0})
        ids = ids_of(self.run_(2, TagSpecifications=tag_spec(pool="p")))
        answer = self.ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
        self.assertEqual({i["CurrentState"]["Name"] for i in answer}, {"shutting-down"})
        self.assertEqual({i["PreviousState"]["Name"] for i in answer}, {"running"})
        self.assertEqual(set(self.states().values()), {"shutting-down"})
        until(lambda: set(self.states().values()) == {"terminated"}, "terminated")
        gone = instances_of(self.ec2.describe_instances(Filters=filters(tag__pool="p")))[0]
        self.assertNotIn("PrivateIpAddress", gone)
        self.assertNotIn("SubnetId", gone)
        answer = self.ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
        self.assertEqual({i["CurrentState"]["Name"] for i in answer}, {"terminated"})
        until(lambda: not self.states(), "forgotten")
        self.assertEqual(BED.bed("GET", "instances"), [])
        with self.refused("InvalidInstanceID.NotFound"):
            self.ec2.terminate_instances(InstanceIds=ids)

    def test_one_unknown_id_spares_all(self):
        ids = ids_of(self.run_(3))
        with self.refused("InvalidInstanceID.NotFound", 400):
            self.ec2.terminate_instances(InstanceIds=[*ids, "i-0123456789abcdef0"])
        self.assertEqual(set(self.states().values()), {"running"})
        self.assertEqual(self.last_call("TerminateInstances")["terminated"], None)


def parse(instant: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(instant).timestamp()


class Faults(BedCase):
    def fault(self, **fault) -> None:
        BED.bed("POST", "faults", fault)

    def test_a_fault_before_does_nothing_and_wears_off(self):
        self.fault(action="RunInstances", code="InternalError", count=2)
        for _ in range(2):
            with self.refused("InternalError", 500):
                self.run_(ClientToken="t1")
        self.assertEqual(self.states(), {})
        self.run_(ClientToken="t1")
        self.assertEqual(BED.bed("GET", "faults")[0]["count"], 0)

    def test_an_answer_is_lost_by_closing_the_connection_and_the_launch_is_found_by_its_token(self):
        self.fault(action="RunInstances", when="after", lose=True)
        with self.assertRaises((ConnectionClosedError, EndpointConnectionError, HTTPClientError)):
            self.run_(2, ClientToken="t1")
        call = self.last_call("RunInstances")
        self.assertEqual((call["lost"], call["launched"]), (True, 2))
        self.assertEqual(len(self.states()), 2)
        self.assertEqual(set(ids_of(self.run_(2, ClientToken="t1"))), set(self.states()))

    def test_an_answer_is_lost_to_an_error(self):
        self.fault(action="RunInstances", when="after")
        with self.refused("InternalError", 500):
            self.run_(2)
        self.assertEqual(len(self.states()), 2)
        ids = list(self.states())
        self.fault(action="TerminateInstances", when="after", code="Unavailable")
        with self.refused("Unavailable", 503):
            self.ec2.terminate_instances(InstanceIds=ids)
        self.assertEqual(set(self.states().values()), {"terminated"})

    def test_a_connection_closed_before_launches_nothing(self):
        self.fault(action="RunInstances", when="before", lose=True)
        with self.assertRaises((ConnectionClosedError, EndpointConnectionError, HTTPClientError)):
            self.run_()
        self.assertEqual(self.states(), {})

    def test_faults_hit_one_zone_or_type_until_cleared(self):
        self.fault(action="RunInstances", code="InsufficientInstanceCapacity", zone=PHX, count=None)
        self.fault(action="RunInstances", code="Unsupported", type="m6i.large", count=None)
        for _ in range(3):
            with self.refused("InsufficientInstanceCapacity", 500):
                self.run_()
        with self.refused("Unsupported", 400):
            self.run_(zone=LAX_A, InstanceType="m6i.large")
        lax = ids_of(self.run_(zone=LAX_A))
        BED.bed("DELETE", "faults")
        phx = ids_of(self.run_())
        self.fault(action="TerminateInstances", code="InternalError", zone=PHX)
        self.ec2.terminate_instances(InstanceIds=lax)
        with self.refused("InternalError"):
            self.ec2.terminate_instances(InstanceIds=phx)

    def test_credentials_and_throttling_have_their_status(self):
        for code, status in (("UnauthorizedOperation", 403), ("AuthFailure", 401), ("RequestLimitExceeded", 503)):
            self.fault(action="*", code=code)
            with self.subTest(code), self.refused(code, status):
                self.ec2.describe_instances()
        self.fault(action="DescribeSubnets", code="Odd", status=418, message="short and stout")
        with self.refused("Odd", 418) as caught:
            self.ec2.describe_subnets()
        self.assertIn("short and stout", str(caught.exception))
        self.fault(action="GetServiceQuota", code="TooManyRequestsException", status=429)
        with self.refused("TooManyRequestsException", 429):
            BED.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")

    def test_a_delay_alone_is_only_slow_and_holds_up_nobody_else(self):
        for when in ("before", "after"):
            self.fault(action="DescribeSubnets", delaySeconds=1.5, when=when)
            took = []

            def slow() -> None:
                began = time.monotonic()
                self.ec2.describe_subnets()
                took.append(time.monotonic() - began)

            thread = threading.Thread(target=slow)
            thread.start()
            until(lambda: BED.bed("GET", "faults")[-1]["count"] == 0, "the slow call is under way")
            self.ec2.describe_instances()
            self.assertEqual(took, [])
            thread.join()
            self.assertGreaterEqual(took[0], 1.5)

    def test_buckets_throttle_requests_and_instances(self):
        BED.bed("PUT", "throttle", {"RunInstances": {"capacity": 2, "refill": 0.001}})
        self.run_()
        self.run_()
        with self.refused("RequestLimitExceeded", 503):
            self.run_()
        BED.bed("PUT", "throttle", {"RunInstances": None, "RunInstances.instances": {"capacity": 5, "refill": 0.001}})
        self.run_(4)
        with self.refused("RequestLimitExceeded", 503):
            self.run_(2)
        self.run_()
        BED.bed(
            "PUT",
            "throttle",
            {"RunInstances.instances": None, "DescribeInstances.unfiltered": {"capacity": 0, "refill": 0}},
        )
        self.assertEqual(len(self.states(Filters=filters(instance_state_name="running"))), 7)
        with self.refused("RequestLimitExceeded", 503):
            self.states()
        preset = BED.bed("PUT", "throttle", {"preset": "aws"})
        self.assertEqual(preset["RunInstances"], {"capacity": 5, "refill": 2})

    def test_what_moto_does_not_know_is_refused_as_ec2_would(self):
        with self.refused("InvalidAction", 400):
            self.ec2.get_spot_placement_scores(TargetCapacity=1)


class Bed(BedCase):
    def test_the_call_log_goes_on_from_where_it_was_read(self):
        start = BED.bed("GET", "calls")["next"]
        self.run_(2, ClientToken="t1", TagSpecifications=tag_spec(pool="p"))
        with self.refused("InvalidParameterValue"):
            self.ec2.describe_instances(Filters=filters(colour="blue"))
        log = BED.bed("GET", f"calls?since={start}")
        run, describe = log["calls"]
        self.assertEqual((run["n"], log["next"]), (start + 1, start + 2))
        self.assertEqual(
            (run["action"], run["zone"], run["type"], run["launched"]), ("RunInstances", PHX, "c6i.large", 2)
        )
        self.assertEqual(run["params"]["subnetId"], self.subnets[PHX])
        self.assertEqual((run["params"]["minCount"], run["params"]["maxCount"]), (2, 2))
        self.assertEqual((run["code"], run["status"]), (None, 200))
        self.assertEqual((describe["code"], describe["status"]), ("InvalidParameterValue", 400))
        self.assertEqual(describe["params"]["filters"], {"colour": ["blue"]})
        self.assertEqual(BED.bed("GET", f"calls?since={log['next']}")["calls"], [])
        self.assertAlmostEqual(parse(run["at"]), time.time(), delta=DEADLINE)

    def test_instances_and_stats_tell_everything(self):
        ids = ids_of(self.run_(2, ClientToken="t1", InstanceType="c6i.4xlarge"))
        seen = BED.bed("GET", "instances")[0]
        expected = {
            "id": ids[0], "state": "running", "zone": PHX, "region": REGION, "subnet": self.subnets[PHX],
            "type": "c6i.4xlarge", "vcpus": 16, "memoryMiB": 32768, "userData": USER_DATA, "clientToken": "t1",
            "imageId": IMAGE, "terminatedAt": None,
        }  # fmt: skip
        self.assertEqual({k: seen[k] for k in expected}, expected)
        self.assertEqual(seen["tags"]["team"], "ops")
        stats = self.stats()
        self.assertEqual((stats["calls"], stats["errors"]), ({"RunInstances": 1}, {}))
        self.assertEqual(stats["instances"], {"running": 2})
        self.assertEqual(stats["zones"], {PHX: {"c6i.4xlarge": {"running": 2}}})

    def test_reset_forgets_everything(self):
        self.run_(2, ClientToken="t1")
        BED.bed("PUT", "zones", {f"{REGION}-phx-2": {"optIn": "not-opted-in"}, LAX_A: {"state": "unavailable"}})
        BED.bed("PUT", "capacity", {"zone": PHX, "type": "*", "count": 0})
        BED.bed("PUT", "quota", {"vcpus": 1, "partial": False})
        BED.bed("PUT", "timing", {"bootSeconds": 9})
        BED.bed("PUT", "throttle", {"*": {"capacity": 0, "refill": 0}})
        BED.bed("POST", "faults", {"action": "*", "count": None})
        BED.bed("POST", "reset")
        self.assertEqual(BED.bed("GET", "calls"), {"next": 0, "calls": []})
        self.assertEqual(self.states(), {})
        self.assertEqual(self.ec2.describe_launch_templates()["LaunchTemplates"], [])
        again = BED.bed("POST", "fixture", {"name": "burst"})
        self.assertEqual(again["launchTemplate"]["version"], 1)
        self.assertEqual(set(again["subnets"]), set(self.subnets))
        self.subnets = again["subnets"]
        self.run_(3, ClientToken="t1")
        self.assertEqual(set(self.states().values()), {"running"})

    def test_wrong_admin_requests_are_refused_in_a_sentence(self):
        for method, path, body in (
            ("PUT", "timing", {"bootseconds": 1}),
            ("PUT", "timing", {"bootSeconds": "1"}),
            ("PUT", "timing", {"bootSeconds": -1}),
            ("PUT", "zones", {"us-west-2-den-1": {"optIn": "opted-in"}}),
            ("PUT", "zones", {PHX: {"state": "sleepy"}}),
            ("PUT", "capacity", {"zone": "mars", "type": "c6i.large", "count": 1}),
            ("PUT", "capacity", {"zone": PHX, "type": "c6i.large", "count": 1.5}),
            ("POST", "faults", {"code": "InternalError"}),
            ("POST", "faults", {"action": "RunInstances", "when": "during"}),
            ("GET", "calls?since=x", None),
        ):
            with self.subTest(path=path, body=body), self.assertRaises(urllib.error.HTTPError) as caught:
                BED.bed(method, path, body)
            with caught.exception as answer:
                self.assertEqual(answer.code, 400)
                self.assertTrue(json.load(answer)["error"])

    def test_many_callers_at_once_never_exceed_the_capacity(self):
        BED.bed("PUT", "capacity", {"zone": PHX, "type": "c6i.large", "count": 25})
        outcomes = []

        def launch(n: int) -> None:
            try:
                outcomes.append(len(ids_of(self.run_(4, least=1, ClientToken=f"t{n // 2}"))))
            except ClientError as e:
                outcomes.append(e.response["Error"]["Code"])

        threads = [threading.Thread(target=launch, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(
            sorted(map(str, outcomes)), sorted(["4"] * 12 + ["1"] * 2 + ["InsufficientInstanceCapacity"] * 6)
        )
        self.assertEqual(self.stats()["instances"], {"running": 25})


class Subset:
    """What stock moto does as well. Each test makes what it needs, under its own tag."""

    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.ec2 = cls.server().client()
        vpc = cls.ec2.create_vpc(CidrBlock="10.80.0.0/16")["Vpc"]["VpcId"]
        cls.zone = f"{REGION}a"
        cls.subnet = cls.ec2.create_subnet(VpcId=vpc, CidrBlock="10.80.0.0/20", AvailabilityZone=cls.zone)["Subnet"][
            "SubnetId"
        ]
        data = {
            "ImageId": IMAGE, "UserData": base64.b64encode(USER_DATA.encode()).decode(), "InstanceType": "c6i.large",
            "TagSpecifications": tag_spec(team="ops"),
        }  # fmt: skip
        cls.template = cls.ec2.create_launch_template(LaunchTemplateName=f"subset-{vpc}", LaunchTemplateData=data)[
            "LaunchTemplate"
        ]
        cls.ec2.create_launch_template_version(
            LaunchTemplateId=cls.template["LaunchTemplateId"], LaunchTemplateData={"ImageId": "ami-00000000000000002"}
        )

    def launch(self, pool: str, count: int = 1, **more) -> list[str]:
        call = {
            "MinCount": count, "MaxCount": count, "SubnetId": self.subnet, "TagSpecifications": tag_spec(pool=pool),
            "LaunchTemplate": {"LaunchTemplateId": self.template["LaunchTemplateId"], "Version": "1"},
        } | more  # fmt: skip
        answer = self.ec2.run_instances(**call)
        self.assertEqual({i["State"]["Name"] for i in answer["Instances"]}, {"pending"})
        return ids_of(answer)

    def pool(self, pool: str, **more) -> list[dict]:
        return instances_of(self.ec2.describe_instances(Filters=filters(tag__pool=pool, **more)))

    def test_launches_by_template_with_tags(self):
        ids = self.launch("launches", 3)
        found = self.pool("launches")
        self.assertEqual([i["InstanceId"] for i in found], ids)
        for i in found:
            tags = {t["Key"]: t["Value"] for t in i["Tags"]}
            self.assertEqual((tags["pool"], tags["team"]), ("launches", "ops"))
            self.assertEqual(tags["aws:ec2launchtemplate:id"], self.template["LaunchTemplateId"])
            self.assertEqual((i["ImageId"], i["InstanceType"], i["SubnetId"]), (IMAGE, "c6i.large", self.subnet))
            self.assertEqual(
                (i["State"], i["Placement"]["AvailabilityZone"]), ({"Code": 16, "Name": "running"}, self.zone)
            )
            self.assertEqual(
                i["PrivateDnsName"], f"ip-{i['PrivateIpAddress'].replace('.', '-')}.{REGION}.compute.internal"
            )
        data = self.ec2.describe_instance_attribute(InstanceId=ids[0], Attribute="userData")["UserData"]["Value"]
        self.assertEqual(base64.b64decode(data).decode(), USER_DATA)

    def test_the_name_and_version_of_the_template_count(self):
        template = {"LaunchTemplateName": self.template["LaunchTemplateName"], "Version": "2"}
        self.launch("versions", LaunchTemplate=template, InstanceType="m6i.xlarge")
        found = self.pool("versions")[0]
        self.assertEqual((found["ImageId"], found["InstanceType"]), ("ami-00000000000000002", "m6i.xlarge"))

    def test_filters(self):
        one, other = self.launch("filters-1", 2), self.launch("filters-2", InstanceType="m5.large")
        for wanted, chosen in (
            (one, filters(tag__pool="filters-1")),
            (one + other, filters(tag__pool=["filters-1", "filters-2"], instance_state_name=["pending", "running"])),
            (one + other, filters(tag__pool="filters-*", subnet_id=self.subnet)),
            (other, filters(tag__pool="filters-*", instance_type="m5.large")),
            (one[:1], filters(instance_id=one[0])),
            ([], filters(tag__pool="filters-*", instance_state_name="terminated")),
            (other, filters(tag__pool="filters-2", availability_zone=self.zone, image_id=IMAGE)),
        ):
            with self.subTest(chosen):
                self.assertEqual(ids_of(self.ec2.describe_instances(Filters=chosen)), wanted)

    def test_pages_of_single_launches_cover_all(self):
        # Stock moto counts reservations, EC2 instances: with one instance each, they agree.
        ids = [self.launch("pages")[0] for _ in range(12)]
        pages = self.ec2.get_paginator("describe_instances").paginate(
            Filters=filters(tag__pool="pages"), PaginationConfig={"PageSize": 5}
        )
        sizes = [ids_of(p) for p in pages]
        self.assertEqual([len(s) for s in sizes], [5, 5, 2])
        self.assertEqual([i for s in sizes for i in s], ids)

    def test_tags_added_later(self):
        ids = self.launch("later")
        self.ec2.create_tags(Resources=ids, Tags=[{"Key": "pool", "Value": "moved"}])
        self.assertEqual([i["InstanceId"] for i in self.pool("moved")], ids)
        self.ec2.delete_tags(Resources=ids, Tags=[{"Key": "pool"}])
        self.assertEqual(self.pool("moved"), [])

    def test_terminates(self):
        ids = self.launch("terminates", 2)
        answer = self.ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
        self.assertEqual([i["InstanceId"] for i in answer], ids)
        self.assertEqual({i["CurrentState"]["Name"] for i in answer}, {"shutting-down"})
        self.assertEqual({i["PreviousState"]["Name"] for i in answer}, {"running"})
        self.assertEqual({i["State"]["Name"] for i in self.pool("terminates")}, {"terminated"})
        self.ec2.terminate_instances(InstanceIds=ids)

    def test_one_unknown_id_spares_all(self):
        ids = self.launch("spared", 2)
        with self.refused("InvalidInstanceID.NotFound", 400):
            self.ec2.terminate_instances(InstanceIds=[*ids, "i-0123456789abcdef0"])
        self.assertEqual({i["State"]["Name"] for i in self.pool("spared")}, {"running"})
        with self.refused("InvalidInstanceID.NotFound", 400):
            self.ec2.describe_instances(InstanceIds=["i-0123456789abcdef0"])

    def test_dry_runs_change_nothing(self):
        with self.refused("DryRunOperation", 412):
            self.launch("dry", DryRun=True)
        self.assertEqual(self.pool("dry"), [])
        ids = self.launch("dry")
        with self.refused("DryRunOperation", 412):
            self.ec2.terminate_instances(InstanceIds=ids, DryRun=True)
        self.assertEqual({i["State"]["Name"] for i in self.pool("dry")}, {"running"})

    def test_addresses_are_counted(self):
        def free() -> int:
            return self.ec2.describe_subnets(SubnetIds=[self.subnet])["Subnets"][0]["AvailableIpAddressCount"]

        before = free()
        self.launch("addresses", 3)
        self.assertEqual(free(), before - 3)


class SubsetOnBed(Subset, Case):
    @staticmethod
    def server() -> Server:
        BED.bed("POST", "reset")
        return BED


class SubsetOnStock(Subset, Case):
    @staticmethod
    def server() -> Server:
        return STOCK

    def test_stock_has_no_admin_endpoints(self):
        with self.assertRaises(urllib.error.HTTPError) as caught:
            STOCK.bed("GET", "stats")
        caught.exception.close()

    def test_stock_is_unpatched(self):
        zones = self.ec2.describe_availability_zones()["AvailabilityZones"]
        self.assertEqual([z["ZoneName"] for z in zones], [f"{REGION}{x}" for x in "abcd"])
        token = {"ClientToken": "once"}
        self.assertNotEqual(self.launch("stock", **token), self.launch("stock", **token))


if __name__ == "__main__":
    unittest.main()
