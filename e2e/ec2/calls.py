"""The one gate every EC2 and Service Quotas call passes: faults, buckets, the status EC2 sends, the call log."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
import traceback
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses import EC2Response
from moto.servicequotas.responses import ServiceQuotasResponse

import launch
from world import WORLD, Fault

# Status per code where it is not 400. Two reports from real accounts say 500 for capacity; the SDKs retry on it.
STATUSES = {
    "AuthFailure": 401,
    "DryRunOperation": 412,
    "InsufficientAddressCapacity": 500,
    "InsufficientCapacity": 500,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}
MESSAGES = {
    "AuthFailure": "AWS was not able to validate the provided access credentials",
    "InternalError": "An internal error has occurred",
    "RequestLimitExceeded": "Request limit exceeded.",
    "UnauthorizedOperation": "You are not authorized to perform this operation.",
}
# Reads, and writes that change no instance but the ones they make or end, leave serialised instances valid.
HARMLESS = re.compile(r"Describe|Get|List|RunInstances$|TerminateInstances$|Create(LaunchTemplate|Subnet|Vpc)")

Answer = tuple[int, dict[str, Any], Any]


def gate(inner: Any) -> Any:
    def call_action(self: Any) -> Answer:
        action = self._get_action()
        params = _params(self)
        self.call = {
            "n": 0, "at": WORLD.iso(WORLD.now()), "seconds": 0.0, "service": self.service_name, "action": action,
            "zone": None, "type": None, "params": _brief(params), "code": None, "status": 200,
            "launched": None, "terminated": None, "returned": None, "replayed": False, "lost": False, "fault": None,
        }  # fmt: skip
        began = time.monotonic()
        try:
            return _answer(self, inner, action, params)
        finally:
            _log(self.call, time.monotonic() - began)

    return call_action


def _answer(self: Any, inner: Any, action: str, params: dict[str, Any]) -> Answer:
    call = self.call
    with WORLD.lock:
        WORLD.advance()
        zones, types = _subjects(self, action, params)
        call["zone"], call["type"] = ",".join(sorted(zones)) or None, ",".join(sorted(types)) or None
        fault = WORLD.take_fault(action, zones, types)
    if fault is not None:
        call["fault"] = fault.id
        if fault.when == "before":
            time.sleep(fault.delay)
            if fault.lose or fault.code is not None:
                return _fail(self, fault)
    with WORLD.lock:
        answer = _throttle(self, action, params) or _do(self, inner, action)
    if fault is not None and fault.when == "after":
        time.sleep(fault.delay)
        if fault.lose or fault.code is not None:
            answer = _fail(self, fault)
    return answer


def _do(self: Any, inner: Any, action: str) -> Answer:
    WORLD.advance()
    if not HARMLESS.match(action):
        WORLD.epoch += 1
    try:
        status, headers, body = inner(self)
    except NotImplementedError as e:
        return _error(self, "InvalidAction", f"The test bed does not model {action}: {e}", 400)
    except Exception as e:
        traceback.print_exc(file=sys.stderr)
        return _error(self, "InternalError", f"the test bed failed in {action}: {e!r}", 500)
    if status >= 400:
        code = _code_of(body)
        self.call["code"] = code
        status = STATUSES.get(code, status)
        headers["status"] = str(status)
    self.call["status"] = status
    return status, headers, body


def _throttle(self: Any, action: str, params: dict[str, Any]) -> Answer | None:
    if not WORLD.bucket_sizes:
        return None
    instances = params.get("MaxCount", 1) if action == "RunInstances" else len(params.get("InstanceIds", []))
    unfiltered = not any(params.get(k) for k in ("Filters", "InstanceIds", "MaxResults"))
    if WORLD.throttled(action, instances, unfiltered):
        return _error(self, "RequestLimitExceeded", MESSAGES["RequestLimitExceeded"], 503)
    return None


def _fail(self: Any, fault: Fault) -> Answer:
    code = fault.code or "InternalError"
    self.call["lost"] = fault.when == "after" or fault.lose
    if fault.lose:
        # The client sees the connection end without an answer; what is written after this goes nowhere.
        self.normalized_request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    message = fault.message or MESSAGES.get(code, f"{code}, made by the test bed")
    return _error(self, code, message, fault.status or STATUSES.get(code, 400))


def _error(self: Any, code: str, message: str, status: int) -> Answer:
    _, headers, body = self.serialized(ActionResult(EC2ClientError(code, message)))
    headers["status"] = str(status)
    self.call["code"], self.call["status"] = code, status
    return status, headers, body


def _code_of(body: Any) -> str:
    text = body.decode() if isinstance(body, bytes) else str(body)
    if match := re.search(r"<Code>([^<]+)</Code>", text) or re.search(r'"__type": ?"(?:[^"#]*#)?([^"]+)"', text):
        return match.group(1)
    return "Unknown"


def _params(self: Any) -> dict[str, Any]:
    if self.automated_parameter_parsing:
        return self.params
    try:
        return json.loads(self.body)
    except (TypeError, ValueError):
        return {}


def _subjects(self: Any, action: str, params: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The zones and instance types that a call is about, for the log and for faults that name one."""
    if action == "RunInstances":
        try:
            zone, type_, _ = launch.target(self, launch.template_version(self))
        except EC2ClientError:
            return set(), set()
        return {zone}, {type_}
    records = [r for i in params.get("InstanceIds", []) if (r := WORLD.records.get(i))]
    return {r.zone for r in records}, {r.type for r in records}


def _brief(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters for the log, as they are in JSON: names begin small, filters become a map, user data its length."""
    out: dict[str, Any] = {}
    for name, value in params.items():
        key = name[0].lower() + name[1:]
        if name == "Filters":
            out[key] = {f.get("Name"): f.get("Values", []) for f in value}
        elif name == "UserData":
            out[key] = f"{len(str(value))} characters"
        elif name == "LaunchTemplateData":
            out[key] = sorted(value)
        else:
            out[key] = value
    return json.loads(json.dumps(out, default=str))


def _log(call: dict[str, Any], seconds: float) -> None:
    with WORLD.lock:
        call["n"], call["seconds"] = len(WORLD.calls) + 1, round(seconds, 4)
        WORLD.calls.append(call)


def install() -> None:
    for response in (EC2Response, ServiceQuotasResponse):
        response.call_action = gate(response.call_action)
