"""EC2 for tests: moto's server, with what it lacks to try a capacity operator on.

    python ec2.py --port 0 [--stock] [--exit-with-stdin]

Binds 127.0.0.1, prints one line, `listening on http://127.0.0.1:PORT`, once it answers, and serves EC2, Service Quotas
and all of moto on that port; any credentials pass. `--stock` serves moto as it is, without anything below, to check
that tests are not bent to fit this emulator. With `--exit-with-stdin` it ends when its standard input does.

world.py holds the state; zones.py, launch.py and instances.py are the EC2 actions, wire.py is what they share; calls.py
is the gate that calls pass (faults, throttling, log); admin.py serves the endpoints below.

What differs from moto: Local Zones (opt-in, subnets, offerings), capacity and quota with partial launches, zonal client
tokens, DescribeInstances paged by instance and strict about filters, instances that take time to become visible, to
boot and to end, TerminateInstances that is all or nothing, L-1216C47A. One account, one region (us-west-2).

Not modelled: CreateFleet and spot (moto's own: they know no capacity), Capacity Reservations (a target is accepted and
ignored), whether an AMI exists, volume types per zone. What a dry run checks is less than a launch: neither offerings
nor quota, addresses and capacity. AWS does not say how a launch with MinCount < MaxCount meets a quota or a subnet that
fits only part; here it shrinks, as for capacity.

Admin endpoints, JSON in and out, same port. PUT changes only the keys it is given, and answers with the whole setting;
a wrong key or value is refused with 400 and {"error": "..."}. All numbers of seconds may be fractions.

POST /_bed/reset                        -> {}
    Forgets everything: moto's state, instances, settings, faults, the call log.

PUT  /_bed/zones       {"us-west-2-lax-1": {"optIn": "not-opted-in"}, "us-west-2-phx-2a": {"state": "constrained"}}
    `optIn` (opted-in, not-opted-in) of a group, `state` (available, constrained, unavailable) of a zone.
    By default all are opted in. GET reads it.
    -> {"us-west-2-lax-1a": {"group": "us-west-2-lax-1", "optIn": "not-opted-in", "state": "available"}, ...}

PUT  /_bed/capacity    {"zone": "us-west-2-phx-2a", "type": "c6i.4xlarge", "count": 12}     (or a list of such)
    How many instances of the type may be held there at once; null is unlimited, the default. Type "*" bounds all types
    of the zone together. Instances that are shutting down still hold capacity, quota and addresses.
    -> [{"zone": ..., "type": ..., "count": 12}, ...]

PUT  /_bed/offerings   {"zone": "us-west-2-lax-1a", "types": ["c5.4xlarge"]}                -> {"zone": ["type", ...]}
    Which types the zone offers. Default: c5, c6i, m5, m6i, r6i up to 8xlarge everywhere; in the region's own zones also
    what AWS offers there.

PUT  /_bed/timing      {"bootSeconds": 4, "bootJitter": 1, "visibleAfterSeconds": 0.5, "shutdownSeconds": 2,
                        "forgetTerminatedSeconds": 60, "seed": 7}
    Boot is drawn evenly from bootSeconds - bootJitter to bootSeconds + bootJitter, by a generator with this seed. Until
    `visibleAfterSeconds` after the launch, DescribeInstances does not show the instance, and naming it is
    InvalidInstanceID.NotFound. Default all 0, but forgetTerminatedSeconds 60. Holds for launches and terminations from
    now on; forgetTerminatedSeconds at once for all.

PUT  /_bed/quota       {"vcpus": 640, "partial": true}
    On-Demand Standard vCPUs for the region, Local Zones included; null is unlimited, the default. With `partial` (the
    default) a launch shrinks to what the quota leaves if that is MinCount or more; without, MaxCount must fit.

PUT  /_bed/throttle    {"RunInstances": {"capacity": 5, "refill": 2}, "*": null} | {"preset": "aws"}
    Token buckets, none by default: requests per action, or instances under "RunInstances.instances" and
    "TerminateInstances.instances", or "DescribeInstances.unfiltered"; "Describe*" and "*" are the bucket sizes of every
    action without one of its own. The preset is what EC2 documents. An empty bucket is RequestLimitExceeded, 503.

POST /_bed/faults      {"action": "RunInstances", "code": "InternalError", "count": 1, "when": "after", "lose": true,
                        "zone": "us-west-2-lax-1a"}                                         -> {"id": 1, ...}
    action   as EC2 names it (also GetServiceQuota), or "*"
    code     of the error; default InternalError, or none if `delaySeconds` is given and `lose` is not: only slow then
    status   default by code: RequestLimitExceeded 503, UnauthorizedOperation 403, AuthFailure 401, capacity 500, ...
    message  default by code
    delaySeconds  waited before the call is done, or after it and before the answer
    count    how many calls it hits, default 1; null is all
    when     "before" (default): nothing is done. "after": it is done, and the answer is replaced
    lose     true: the connection closes without an answer. Default false
    zone, type    only calls about them: where RunInstances would launch, what TerminateInstances names
    A call meets the oldest fault that fits it, and only that.
GET  /_bed/faults                       -> [{"id": 1, "count": 0, ...}, ...]    `count` is what is left
DELETE /_bed/faults                     -> {}

GET  /_bed/calls[?since=N]              -> {"next": 41, "calls": [...]}
    Finished calls after the Nth, in the order in which they finished; `since=next` continues. A call:
    {"n": 41, "at": "2026-12-05T17:00:00.123Z", "seconds": 0.03, "service": "ec2", "action": "RunInstances",
     "zone": "us-west-2-phx-2a", "type": "c6i.4xlarge",
     "params": {"clientToken": "...", "minCount": 1, "maxCount": 20, "subnetId": "...", "launchTemplate": {...}, ...},
     "code": null, "status": 200, "launched": 12, "terminated": null, "returned": null, "replayed": false,
     "lost": false, "fault": null}
    `code` is null for success and DryRunOperation for a dry run that would succeed; `launched`, `terminated` count what
    the call really did, also if its answer was lost (`lost`); `returned` counts described instances; `replayed`: the
    client token was known. `params` has AWS's names with a small first letter, `filters` as {"name": ["value"]}.

GET  /_bed/stats                        -> {"calls": {"RunInstances": 3}, "instances": {"running": 12},
                                            "errors": {"RunInstances": {"Unsupported": 1}},
                                            "zones": {"us-west-2-phx-2a": {"c6i.4xlarge": {"running": 12}}}}

GET  /_bed/instances                    -> [{"id", "state", "zone", "region", "subnet", "type", "vcpus", "memoryMiB",
                                             "privateIp", "imageId", "tags": {}, "userData", "launchedAt", "visibleAt",
                                             "runningAt", "terminatedAt", "clientToken"}, ...]
    Every instance not yet forgotten, in launch order, also those DescribeInstances does not show yet. userData is
    decoded, null if none; runningAt and terminatedAt are null until then.

POST /_bed/fixture     {"name": "burst", "userData": "plain text", "imageId": "ami-0123456789abcdef0",
                        "instanceTags": {"team": "x"}, "instanceType": "c6i.4xlarge", "subnetPrefix": 20,
                        "network": "shop", "subnetIds": {"us-west-2a": "subnet-0abc123"}}
    A VPC (one for each `network`, which is `name` unless given), a subnet in each of us-west-2a, b, c and of the Local Zones that are opted in, and a launch template. Only
    `name` is needed; `subnetIds` says which IDs new subnets get. The same name again adds a template version, and subnets for zones opted in since.
    -> {"vpc": "vpc-..", "subnets": {"us-west-2a": "subnet-..", ...},
        "launchTemplate": {"id": "lt-..", "name": "burst", "version": 1}}
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
from typing import Any
from urllib.parse import parse_qs

# moto reads these as it is imported. The stock AMI list makes a launch of 1000 take 6 s instead of 2.5 s.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")

from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # noqa: E402
from werkzeug.test import Client  # noqa: E402


class Quiet(MotoRequestHandler):
    """No access log: the call log is better, and standard output is one line."""

    def log_request(self, *_: Any) -> None:
        pass


def warm_up(app: Any) -> None:
    """One call, so that the first of a test does not wait for moto to load EC2."""
    auth = "AWS4-HMAC-SHA256 Credential=warm/20200101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=0"
    call = {"Action": "DescribeInstances", "Version": "2016-11-15"}
    answer = Client(app).post("/", data=call, headers={"Authorization": auth})
    if answer.status_code != 200:
        raise RuntimeError(f"the first call failed: {answer.status_code} {answer.text[:500]}")


class Admin:
    """The /_bed/ endpoints in front of moto."""

    def __init__(self, app: Any) -> None:
        import admin  # not with --stock: it brings the hooks' state

        self.app, self.admin = app, admin

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if not path.startswith("/_bed/"):
            return self.app(environ, start_response)
        status, answer = self.serve(environ, path)
        body = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def serve(self, environ: dict[str, Any], path: str) -> tuple[str, Any]:
        handler = self.admin.ROUTES.get((environ["REQUEST_METHOD"], path))
        if handler is None:
            return "404 Not Found", {"error": f"no {environ['REQUEST_METHOD']} {path}"}
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        query = {k: v[0] for k, v in parse_qs(environ.get("QUERY_STRING", "")).items()}
        try:
            return "200 OK", self.admin.run(handler, json.loads(raw) if raw.strip() else {}, query)
        except (self.admin.Refused, ValueError) as e:
            return "400 Bad Request", {"error": str(e)}


def application(stock: bool) -> Any:
    app = DomainDispatcherApplication(create_backend_app)
    if stock:
        warm_up(app)
        return app
    import calls
    import instances
    import launch
    import zones
    from world import WORLD

    for module in (zones, instances, launch, calls):
        module.install()
    warm_up(app)
    WORLD.clear()
    return Admin(app)


def exit_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description="EC2 for tests, on 127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    parser.add_argument("--stock", action="store_true", help="serve moto unpatched")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input does")
    args = parser.parse_args()
    if args.exit_with_stdin:
        threading.Thread(target=exit_with_stdin, daemon=True).start()
    server = make_server("127.0.0.1", args.port, application(args.stock), threaded=True, request_handler=Quiet)
    print(f"listening on http://127.0.0.1:{server.port}", flush=True)
    sys.stdout = sys.stderr
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
