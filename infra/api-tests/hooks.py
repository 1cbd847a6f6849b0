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
