#!/usr/bin/env python3
"""Looks for secrets in the files of the repository: `make lint-infra`.

    infra/find-secrets.py                 fails for each secret that infra/known-secrets.txt does not list
    infra/find-secrets.py --planted       plants secrets of each kind in a scratch file, and fails unless all are found
    infra/find-secrets.py --accept        lists what is there now: look at the difference before you commit it

Keys and tokens are recognized by their form, in all files. Random text is recognized in files of configuration only, since
tests and documents have many ids. The detectors are those of detect-secrets.
"""

import hashlib
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT = pathlib.Path(__file__).resolve().parent.parent
KNOWN = ROOT / "infra" / "known-secrets.txt"
# Checksums of packages, and programs of others.
FOREIGN = re.compile(r"(^|/)(Cargo\.lock|package-lock\.json)$|/swagger-ui-|\.(png|svg|rdb|gz)$")
CONFIGURATION = re.compile(r"\.(toml|ya?ml|conf|cfg|sh|sql|service|timer|template|env|example|lua)$|(^|/)(Dockerfile|Makefile|[^./]+)$")
# By their form: the detector, and what a file must have before it is read line by line.
TOKENS = {
    "AWSKeyDetector": r"(A3T|ABIA|ACCA|AKIA|ASIA)[A-Z0-9]{12}",
    "AzureStorageKeyDetector": r"AccountKey=",
    "BasicAuthDetector": r"://[^\s/:@]*:[^\s/@]+@",
    "GitHubTokenDetector": r"gh[pousr]_",
    "GitLabTokenDetector": r"gl[a-z]{2,4}-",
    "JwtTokenDetector": r"eyJ",
    "NpmDetector": r"_authToken",
    "OpenAIDetector": r"sk-",
    "PrivateKeyDetector": r"BEGIN |PuTTY-User-Key-File",
    "PypiTokenDetector": r"pypi-",
    "SendGridDetector": r"SG\.",
    "SlackDetector": r"xox|hooks\.slack\.com",
    "StripeDetector": r"[rs]k_live_",
}
HINT = re.compile("|".join(TOKENS.values()))
RANDOM = [{"name": "HexHighEntropyString", "limit": 3.0}, {"name": "Base64HighEntropyString", "limit": 4.5}]


def found(root: pathlib.Path, files: list[str]) -> dict[tuple[str, str, str], int]:
    """By file, kind and digest of the secret: its line."""
    secrets_found = {}
    hinted = [name for name in files if HINT.search((root / name).read_text(errors="replace"))]
    configuration = [name for name in files if CONFIGURATION.search(name)]
    for names, plugins in [(hinted, [{"name": plugin} for plugin in TOKENS]), (configuration, RANDOM)]:
        collection = SecretsCollection(root=str(root))
        with transient_settings({"plugins_used": plugins, "filters_used": []}):
            for name in names:
                collection.scan_file(name)
        for name, secret in collection:
            digest = hashlib.sha256(secret.secret_value.encode()).hexdigest()[:16]
            secrets_found[(name, secret.type, digest)] = secret.line_number
    return secrets_found


def tracked() -> list[str]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if (ROOT / name).is_file() and not FOREIGN.search(name) and name != "infra/known-secrets.txt"]


def known() -> set[tuple[str, str, str]]:
    lines = KNOWN.read_text().splitlines()
    return {tuple(line.split(" | ")) for line in lines if line and not line.startswith("#")}


def check() -> int:
    present, accepted = found(ROOT, tracked()), known()
    for (name, kind, digest), line in sorted(present.items()):
        if (name, kind, digest) not in accepted:
            print(f"{name}:{line}: {kind}; if it is none: infra/find-secrets.py --accept")
    for name, kind, digest in sorted(accepted - present.keys()):
        print(f"{name}: no such {kind} any more ({digest}): infra/find-secrets.py --accept")
    return int(present.keys() != accepted)


def accept() -> int:
    lines = [" | ".join(key) for key in sorted(found(ROOT, tracked()))]
    head = "# What infra/find-secrets.py finds and is no secret: examples, test data, and the secrets for development, which production\n"
    head += "# refuses. File, kind, and the beginning of the SHA-256 of what was found.\n"
    KNOWN.write_text(head + "\n".join(lines) + "\n")
    return 0


def planted() -> int:
    """Each line is built here, so that no file of the repository has it."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    random = "".join(secrets.choice(letters) for _ in range(40))
    lines = {
        "Private Key": "-----BEGIN " + "PRIVATE KEY-----",
        "AWS Access Key": "AKIA" + random[:16],
        "Azure Storage Account access key": "AccountKey" + "=" + (random * 3)[:86] + "==",
        "GitHub Token": "ghp_" + (random * 2)[:36],
        "GitLab Token": "glpat-" + random[:20],
        "Slack Token": "xoxb-" + "1234567890-" + random[:24],
        "Stripe Access Key": "sk_" + "live_" + random[:24],
        "NPM tokens": "//registry.example.org/:_auth" + "Token=npm_" + random[:36],
        "OpenAI Token": "sk-" + random[:20] + "T3Blbk" + "FJ" + random[:20],
        "PyPI Token": "pypi-" + "AgEIcHlwaS5vcmc" + (random * 2)[:70],
        "SendGrid API Key": "SG." + random[:22] + "." + (random * 2)[:43],
        "JSON Web Token": "eyJhbGciOiJFZERTQSJ9." + "eyJzdWIiOiJhZGEifQ." + "AAAA",
        "Basic Auth Credentials": "postgresql://tandem:" + random[:20] + "@db.example.org/tandem",
        "Hex High Entropy String": f'token = "{secrets.token_hex(32)}"',
        "Base64 High Entropy String": f'key = "{secrets.token_urlsafe(48)}"',
    }
    assert len(lines) == len(TOKENS) + len(RANDOM), "each detector has a line"
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for kind, line in lines.items():
            (root / "planted.toml").write_text(f"# some words\n{line}\n")
            if not any(where == 2 and has == kind for (_, has, _), where in found(root, ["planted.toml"]).items()):
                missed.append(kind)
    print(f"{len(lines) - len(missed)} of {len(lines)} planted secrets were found" + "".join(f"; missed: {kind}" for kind in missed))
    return int(bool(missed))


if __name__ == "__main__":
    modes = {(): check, ("--planted",): planted, ("--accept",): accept}
    mode = modes.get(tuple(sys.argv[1:]))
    if mode is None:
        sys.exit(__doc__)
    sys.exit(mode())
