"""What the EC2 actions share: refusals, filters, pages, and the hooks into moto."""

from __future__ import annotations

import base64
import functools
import re
from typing import Any

from moto.ec2.exceptions import EC2ClientError

MAX_FILTER_VALUES = 200

# What moto had where a hook of ours is now, by name; those of its backend begin with `backend_`.
STOCK: dict[str, Any] = {}


def hook(owner: Any, name: str, new: Any, prefix: str = "") -> None:
    STOCK[prefix + name] = getattr(owner, name, None)
    setattr(owner, name, new)


def refuse(code: str, message: str) -> EC2ClientError:
    return EC2ClientError(code, message)


@functools.lru_cache(maxsize=4096)
def _pattern(value: str) -> re.Pattern[str]:
    """EC2's wildcards: `*`, `?`, and a backslash before either to mean itself."""
    out, chars = "", iter(value)
    for char in chars:
        if char == "\\":
            out += re.escape(next(chars, "\\"))
        else:
            out += {"*": ".*", "?": "."}.get(char, re.escape(char))
    return re.compile(out, re.DOTALL)


def _any_match(wanted: list[str], have: list[str]) -> bool:
    return any(_pattern(w).fullmatch(h) for w in wanted for h in have)


def filters_of(response: Any, known: dict[str, Any]) -> list[tuple[Any, list[str]]]:
    """(how to read the field, accepted values) of each filter; refuses a name that is not `known`, or not a tag where
    `known` reads tags."""
    out = []
    for entry in response._get_param("Filters", []) or []:
        name, values = entry.get("Name", ""), entry.get("Values", [])
        if name.startswith("tag:") and "tag:" in known:
            out.append((functools.partial(known["tag:"], name[4:]), values))
        elif name in known and name != "tag:":
            out.append((known[name], values))
        else:
            raise refuse("InvalidParameterValue", f"The filter '{name}' is invalid")
    if sum(len(values) for _, values in out) > MAX_FILTER_VALUES:
        raise refuse(
            "FilterLimitExceeded",
            f"The maximum number of filter values specified on a single call is {MAX_FILTER_VALUES}",
        )
    return out


def passes(item: Any, filters: list[tuple[Any, list[str]]]) -> bool:
    return all(_any_match(values, [str(v) for v in read(item) if v is not None]) for read, values in filters)


def page_of(response: Any, items: list[tuple[int, Any]]) -> tuple[list[Any], str | None]:
    """One page of (serial, item), in order of serial: the token names the last serial shown, so a page keeps its place
    while items come and go."""
    limit, token = response._get_int_param("MaxResults"), response._get_param("NextToken")
    if limit is not None and not 5 <= limit <= 1000:
        raise refuse(
            "InvalidParameterValue",
            f"Value ( {limit} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.",
        )
    if token:
        try:
            after = int(base64.b64decode(token, validate=True).decode().removeprefix("after:"))
        except ValueError:
            raise refuse("InvalidNextToken", "The token is invalid") from None
        items = [(serial, item) for serial, item in items if serial > after]
    if limit is None or len(items) <= limit:
        return [item for _, item in items], None
    page = items[:limit]
    return [item for _, item in page], base64.b64encode(f"after:{page[-1][0]}".encode()).decode()
