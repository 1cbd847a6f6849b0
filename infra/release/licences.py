#!/usr/bin/env python3
"""Collects the licences of all crates that our programs contain: `make licences`.

    infra/release/licences.py FILE       writes a page; fails for a crate whose licence deny.toml does not allow

The texts are those in the crates' own packages. Crates with the same text share it.
"""

import collections
import html
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Names of files with a licence or a notice.
TEXTS = re.compile(r"^(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)", re.IGNORECASE)
PROGRAMS = ["gateway", "stateless-svc", "stateful-svc", "loadtest", "local-stack"]
PLATFORMS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]


def allows(expression: str, accepted: set[str]) -> bool:
    """Whether the accepted licences satisfy an SPDX expression. `/` is an old spelling of OR."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    python = []
    while words:
        word = words.pop(0)
        if word in ("(", ")"):
            python.append(word)
        elif word in ("AND", "OR"):
            python.append(word.lower())
        else:
            if words[:1] == ["WITH"]:
                word = " ".join([word, *words[:2]])
                del words[:2]
            python.append(str(word in accepted))
    # Nothing but True, False, and, or and parentheses.
    return bool(python) and bool(eval(" ".join(python), {"__builtins__": {}}))  # noqa: S307


def crates() -> list[dict]:
    """What is linked into a program, on any platform: no tools of a build, no tests."""
    found = {}
    for platform in PLATFORMS:
        command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", platform]
        metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        packages = {package["id"]: package for package in metadata["packages"]}
        nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
        waiting = [package["id"] for package in packages.values() if package["source"] is None and package["name"] in PROGRAMS]
        while waiting:
            crate = waiting.pop()
            if crate not in found:
                found[crate] = packages[crate]
                for dependency in nodes[crate]["deps"]:
                    if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                        waiting.append(dependency["pkg"])
    return sorted((package for package in found.values() if package["source"]), key=lambda package: (package["name"], package["version"]))


def main(target: pathlib.Path) -> int:
    accepted = set(tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"])
    rejected, texts, rows = [], collections.defaultdict(list), []
    for crate in crates():
        name, licence = f"{crate['name']} {crate['version']}", crate["license"] or ""
        if not allows(licence, accepted):
            rejected.append(f"{name}: {licence or 'no licence'}")
        folder = pathlib.Path(crate["manifest_path"]).parent
        files = sorted(file for file in folder.iterdir() if file.is_file() and TEXTS.match(file.name))
        for file in files:
            texts[file.read_text(errors="replace").strip()].append(f"{name} ({file.name})")
        link = html.escape(crate["repository"] or "")
        rows.append(f"<tr><td>{html.escape(name)}</td><td>{html.escape(licence)}</td><td>{link}</td><td>{len(files)}</td></tr>")
    page = ["<!doctype html>", '<html lang="en"><head><meta charset="utf-8"><title>Licences of what Tandem is built from</title></head><body>']
    page += ["<h1>Licences</h1>", "<p>The crates in Tandem's programs, their licences, where they come from, and how many texts their packages have.</p>"]
    page += ["<table>", *rows, "</table>"]
    for text, users in sorted(texts.items(), key=lambda item: (-len(item[1]), item[1])):
        page += [f"<h2>{html.escape(', '.join(users))}</h2>", f"<pre>{html.escape(text)}</pre>"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join([*page, "</body></html>\n"]))
    print(f"{target}: {len(rows)} crates, {len(texts)} texts")
    for crate in rejected:
        print(f"error: deny.toml does not allow {crate}", file=sys.stderr)
    return int(bool(rejected) or len(rows) < 100)


def test() -> int:
    accepted = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"}
    cases = {
        "MIT": True, "GPL-3.0": False, "MIT OR GPL-3.0": True, "MIT/Apache-2.0": True, "MIT AND GPL-3.0": False, "": False,
        "(MIT OR GPL-3.0) AND Unicode-3.0": True, "GPL-3.0 OR (MIT AND ISC)": False, "Apache-2.0 WITH LLVM-exception": True,
        "MIT WITH LLVM-exception": False, "GPL-2.0 WITH LLVM-exception OR MIT": True,
    }
    wrong = [expression for expression, expected in cases.items() if allows(expression, accepted) != expected]
    print(f"{len(cases) - len(wrong)} of {len(cases)} expressions are read right" + "".join(f"; wrong: {each}" for each in wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(test() if sys.argv[1] == "--test" else main(pathlib.Path(sys.argv[1])))
