"""Says where two files differ: by tensors, by keys, by lines."""

import json
import re
import struct

try:
    import tomllib
except ImportError:  # before Python 3.11: TOML is compared by lines
    tomllib = None

# Measured, not computed.
MEASURED = re.compile(r"seconds$|_per_second$|^peak_memory$|^adapter$")
MOST = 8


def tensors(content):
    size = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:size])
    meta = header.pop("__metadata__", {})
    whole = {name: (t["dtype"], t["shape"], content[size + t["data_offsets"][0]:size + t["data_offsets"][1]])
             for name, t in header.items()}
    return whole | {f"metadata {key}": value for key, value in meta.items()}


def flat(value, place=""):
    """{"a.b[3]": leaf}, without what is measured."""
    if isinstance(value, dict):
        items = [(f"{place}.{key}".lstrip("."), v) for key, v in value.items() if not MEASURED.search(key)]
    elif isinstance(value, list):
        items = [(f"{place}[{i}]", v) for i, v in enumerate(value)]
    else:
        return {place: value}
    parts = {place: f"{type(value).__name__} of {len(items)}"}
    for key, v in items:
        parts |= flat(v, key)
    return parts


def read(name, content):
    """What a file says, by names of its parts."""
    if name.endswith(".safetensors"):
        return tensors(content)
    if name.endswith((".json", ".jsonl")):
        try:
            return flat(json.loads(content))
        except ValueError:
            lines = content.decode().splitlines()
            return {f"line {n}{'.' if key else ''}{key}": v for n, line in enumerate(lines, 1)
                    for key, v in flat(json.loads(line)).items()}
    if name.endswith(".toml") and tomllib:
        return flat(tomllib.loads(content.decode()))
    if name.endswith(".wgsl"):
        code = [re.sub(r"\s*//.*", "", line).strip() for line in content.decode().splitlines()]
        return {"code": [line for line in code if line]}
    if name.endswith((".txt", ".metal", ".hlsl")):
        return {f"line {n}": line for n, line in enumerate(content.decode().splitlines(), 1)}
    return {"bytes": content}


def brief(value):
    if isinstance(value, tuple):
        return f"{value[0]} {value[1]}"
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def differences(name, one, other):
    """Lines on what differs between two contents of a file; none where they say the same."""
    if one == other:
        return []
    a, b = read(name, one), read(name, other)
    found = [f"{key}: only before" for key in a if key not in b]
    found += [f"{key}: only after" for key in b if key not in a]
    for key in a:
        if key in b and a[key] != b[key]:
            was, now = brief(a[key]), brief(b[key])
            found.append(f"{key}: {'other values' if was == now else f'{was} became {now}'}")
    if not found and name.endswith(".safetensors"):
        found = ["the same tensors, laid out otherwise"]
    return found[:MOST] + ([f"and {len(found) - MOST} more"] if len(found) > MOST else [])
