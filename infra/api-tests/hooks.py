"""For header fields schemathesis's coverage phase draws letters and digits alone, and ignores their
pattern. Values of a format are drawn by the format's strategy: here, by the pattern."""

import callers  # noqa: F401 its hooks add the token
import schemathesis
from hypothesis import strategies

# Events are signed JWTs; generated ones are any text.
schemathesis.serializer.alias("application/secevent+jwt", "text/plain")


@schemathesis.hook
def before_load_schema(_context, document):
    for name, parameter in document["components"]["parameters"].items():
        if pattern := parameter["schema"].get("pattern"):
            parameter["schema"]["format"] = name
            values = strategies.from_regex(pattern, fullmatch=True, alphabet=strategies.characters(codec="ascii"))
            schemathesis.openapi.format(name, values.filter(lambda value: value == value.strip()))


# Of this run, and those that were sent before something was deleted.
sent_keys, spent_keys = set(), set()


@schemathesis.hook("before_call")
def forget_spent_key(_context, case, _kwargs):
    """The same request is generated in many scenarios. With its Idempotency-Key it gets the first response, also when
    what that created was deleted since, and the check of created resources takes it for a new one."""
    if case.headers and case.headers.get("Idempotency-Key") in spent_keys:
        del case.headers["Idempotency-Key"]


@schemathesis.hook("after_call")
def note_key(_context, case, response):
    if key := (case.headers or {}).get("Idempotency-Key"):
        sent_keys.add(key)
    if case.method.upper() == "DELETE" and response.status_code < 300:
        spent_keys.update(sent_keys)


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Nginx's cache evaluates an empty If-Match or If-Unmodified-Since by itself, since no directive tells an empty
    field from an absent one. It responds with 412, or with nothing, and then the connection is of no use. Only the
    client that sends such an invalid field is affected, so through Nginx none is sent."""
    if case.operation.base_url.startswith("https:"):
        for name in ("If-Match", "If-Unmodified-Since"):
            if not (case.headers or {}).get(name, "any").strip():
                del case.headers[name]
