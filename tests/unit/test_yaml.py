#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""uapi/blobcache.yaml and the headers beside it name and number the same things. Output: TAP."""

import pathlib
import re
import sys

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
HEADERS = ["blobcache_netlink.h", "blobcache_dev.h"]
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def c_name(*parts):
    """YNL's rule: dashes to underscores, in capitals."""
    return "".join(parts).replace("-", "_").upper()


def header_enums(text):
    """Enum name -> {member: value}; the markers of the end are left out."""
    enums = {}
    for name, body in re.findall(r"enum (\w+) \{(.*?)\};", COMMENT.sub("", text), re.S):
        members, value = {}, 0
        for item in filter(None, (part.strip() for part in body.split(","))):
            member, _, number = (part.strip() for part in item.partition("="))
            value = int(number, 0) if number else value
            if not member.startswith("__") and not member.endswith("_COUNT"):
                members[member] = value
            value += 1
        enums[name] = members
    return enums


def header_defines(text):
    pattern = r'^#define (\w+)[ \t]+"?([\w]+)"?[ \t]*$'
    return dict(re.findall(pattern, COMMENT.sub("", text), re.M))


def spec_entries(prefix, entries, value):
    members = {}
    for entry in entries:
        entry = {"name": entry} if isinstance(entry, str) else entry
        value = entry.get("value", value)
        members[c_name(prefix, entry["name"])] = value
        value += 1
    return members


def spec_enums(spec):
    enums = {}
    for item in spec["definitions"]:
        if item["type"] == "enum":
            name = item["enum-name"].replace("-", "_")
            start = item.get("value-start", 0)
            enums[name] = spec_entries(item["name-prefix"], item["entries"], start)
    spaces = spec["attribute-sets"] + [dict(spec["operations"], attributes=spec["operations"]["list"])]
    for space in spaces:
        # YNL numbers attributes and operations from 1; 0 is never sent.
        members = {c_name(space["name-prefix"], "unspec"): 0}
        members.update(spec_entries(space["name-prefix"], space["attributes"], 1))
        enums[space["enum-name"].replace("-", "_")] = members
    return enums


def spec_defines(spec):
    defines = {c_name(spec["c-family-name"]): spec["name"],
               c_name(spec["c-version-name"]): str(spec["version"])}
    for item in spec["definitions"]:
        if item["type"] == "const":
            defines[c_name(item["name"])] = str(item["value"])
    for group in spec["mcast-groups"]["list"]:
        defines[c_name(group["c-define-name"])] = group["name"]
    return defines


def difference(here, there):
    return [f"{key}: header {here.get(key)}, spec {there.get(key)}"
            for key in sorted(set(here) | set(there)) if here.get(key) != there.get(key)]


def references(spec):
    """Names that are used but not defined."""
    spaces = {space["name"]: space for space in spec["attribute-sets"]}
    enums = {item["name"] for item in spec["definitions"]}
    for space in spaces.values():
        for attribute in space["attributes"]:
            if attribute.get("nested-attributes", "stats") not in spaces:
                yield f"{space['name']}.{attribute['name']}: unknown nest"
            if "enum" in attribute and attribute["enum"] not in enums:
                yield f"{space['name']}.{attribute['name']}: unknown enum"
    for operation in spec["operations"]["list"]:
        known = {a["name"] for a in spaces[operation["attribute-set"]]["attributes"]}
        for mode in ("do", "dump"):
            for message in operation.get(mode, {}).values():
                for name in set(message["attributes"]) - known:
                    yield f"{operation['name']}: unknown attribute {name}"
        for name in set(operation.get("event", {}).get("attributes", [])) - known:
            yield f"{operation['name']}: unknown attribute {name}"


def checks():
    spec = yaml.safe_load((TOP / "uapi/blobcache.yaml").read_text())
    text = "\n".join((TOP / "uapi" / name).read_text() for name in HEADERS)
    here, there = header_enums(text), spec_enums(spec)
    for name in sorted(set(here) | set(there)):
        yield f"enum {name}", difference(here.get(name, {}), there.get(name, {}))
    defines = header_defines(text)
    wanted = spec_defines(spec)
    yield "defines", difference({k: defines.get(k) for k in wanted}, wanted)
    yield "references", list(references(spec))


def main():
    number, failed = 0, 0
    for name, problems in checks():
        number += 1
        failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {number} - {name}")
        for problem in problems:
            print(f"# {problem}")
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
