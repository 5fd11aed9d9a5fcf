"""Spoiling a good file: bytes and text of any kind, and the values inside YAML, JSON and CSV.

Every function takes a `random.Random` and draws nothing elsewhere, so a file is named by (seed, kind, number).
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import yaml

CANARY = "../canary"
LINK = "link_evil"  # a module beside every case that is a link to one in the canary folder

#: values that no reader expects where they land; numbers beyond every type, names that lead elsewhere, text that breaks
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, 1e308, -1e308, 5e-324, 0.5,
    float("nan"), float("inf"), float("-inf"), "", " ", "a" * 70_000, "\0", "a\0b", "\ud800", "é🙂", "%s%n{}", "-",
    "null", "²", "1e999", "0x10", "../" * 20 + "etc/passwd", f"{CANARY}/secret.bin", f"{CANARY}/evil.yaml",
    f"{CANARY}/evil:Mine", f"{LINK}:Mine", f"{LINK}", "canary.evil:Mine", "os:system", "subprocess:run",
    "builtins:exec", "hwnas.cli.main:entry", "rule.sandwich:np", "search.nsga2:NSGA2", "mobile", "/dev/zero",
    "/proc/self/mem", "2001-13-45", "!!python/name:os.system", [], {}, [[]], [None], {"": ""}, {"use": "os:system",
    "command": "true"}, {"value": 1, "source": "made up"}, [1] * 3000,
)  # fmt: skip
DEEP = 100_000  # levels of brackets: more than any recursion takes

Mutation = Callable[[random.Random, bytes], bytes]


def spoil_bytes(rng: random.Random, data: bytes) -> bytes:
    """One to four edits that know nothing of the format."""
    edits: tuple[Mutation, ...] = (_flip, _flip, _cut, _insert, _remove, _repeat, _swap)
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(edits)(rng, data)
    return data


def _place(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + int(2 ** rng.uniform(0, 10)))


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at, _ = _place(rng, data)
    noise = rng.randbytes(rng.randint(1, 40))
    words = (noise, b"\0", b"\xff\xfe", b"\r", b'"', b"\n\n", b"9" * 6000, b"[" * DEEP, b"&a ")
    return data[:at] + rng.choice(words) + data[at:]


def _remove(rng: random.Random, data: bytes) -> bytes:
    start, end = _place(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start, end = _place(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 2, 20)) + data[end:]


def _swap(rng: random.Random, data: bytes) -> bytes:
    a, b = sorted(rng.randint(0, len(data)) for _ in range(2))
    return data[b:] + data[a:b] + data[:a]


# -- values ----------------------------------------------------------------------------------------------------


def places(value: Any) -> list[tuple[Any, ...]]:
    """The path of every value inside nested dicts and lists, the whole excluded; nesting may be deeper than calls."""
    found: list[tuple[Any, ...]] = []
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(value, ())]
    while waiting:
        inner, path = waiting.pop()
        items = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        below = [(held, (*path, key)) for key, held in items]
        found += [place for _, place in below]
        waiting += below
    return found


def spoil_value(rng: random.Random, value: Any) -> Any:
    """One to three edits of a nested value: another value or type, a key gone, renamed or copied, or nested deep."""
    value = json.loads(json.dumps(value, default=str))
    for _ in range(rng.randint(1, 3)):
        found = places(value)
        if not found:
            break
        *path, key = rng.choice(found)
        holder = value
        for step in path:
            holder = holder[step]
        _edit(rng, holder, key, value)
    return value


def _edit(rng: random.Random, holder: Any, key: Any, whole: Any) -> None:
    choice = rng.randrange(9)
    if choice <= 3:
        holder[key] = copy.deepcopy(rng.choice(VALUES))  # edits of one file must not reach the next
    elif choice == 4:
        holder.pop(key)
    elif choice == 5 and isinstance(holder, dict):
        holder[str(rng.choice((key * 2, key[:-1], "", "format", "use", "\0", "é", "plugins")))] = holder.pop(key)
    elif choice == 6:
        old = holder[key]
        holder[key] = rng.choice(([old], {"value": old}, str(old), [old] * 50, -1 if old == 1 else 1, bool(old)))
    elif choice == 7:
        other = rng.choice(places(whole))
        inner = whole
        for step in other:
            inner = inner[step]
        holder[key] = json.loads(json.dumps(inner))
    else:
        for _ in range(rng.choice((3, 40, 400))):
            holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}


def spoil_json(rng: random.Random, data: bytes) -> bytes:
    """A JSON file with other values inside, or with other text."""
    if rng.random() < 0.25:
        return spoil_bytes(rng, data)
    value, indent = spoil_value(rng, json.loads(data)), rng.choice((None, 1))
    text = json.dumps(value)
    if indent and text.count("[") + text.count("{") < 2000:  # deep nesting, indented, would be a hundred megabytes
        text = json.dumps(value, indent=indent)
    return _spoil_structure(rng, text).encode("utf-8", "surrogatepass")


def _spoil_structure(rng: random.Random, text: str) -> str:
    """Now and then what a value cannot say: a key twice, endless brackets, a number too long to convert."""
    choice = rng.randrange(12)
    if choice == 0 and '"' in text:
        return text.replace("{", '{"format": 1, "format": 2, ', 1)
    if choice == 1:
        return text.replace(":", ":" + "[" * DEEP, 1)
    if choice == 2:
        return text.replace(": ", ": " + "9" * 6000, 1)
    return text


def spoil_yaml(rng: random.Random, data: bytes) -> bytes:
    """A YAML file with other values inside, or with other text, or with what only YAML can say."""
    choice = rng.random()
    if choice < 0.2:
        return spoil_bytes(rng, data)
    if choice < 0.35:
        return _spoil_yaml_text(rng, data.decode()).encode("utf-8", "surrogatepass")
    value = spoil_value(rng, yaml.safe_load(data))
    if rng.random() < 0.3:
        return _spoil_structure(rng, json.dumps(value)).encode("utf-8", "surrogatepass")
    try:
        return yaml.safe_dump(value, allow_unicode=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):  # nested too deep, or a number too long, for PyYAML's own writer
        return json.dumps(value).encode("utf-8", "surrogatepass")


def _spoil_yaml_text(rng: random.Random, text: str) -> str:
    lines = text.splitlines()
    at = rng.randint(0, len(lines))
    laughs = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    added: tuple[list[str], ...] = (
        laughs,
        ["name: &n tiny", "data: *n"],
        ["a: &a [*a]"],
        ["<<: {name: other}"],
        ["<<: [1, 2]"],
        [f'x: !!python/object/apply:os.system ["touch {CANARY}/ran"]'],
        [f'x: !!python/object/apply:builtins.open ["{CANARY}/secret.bin"]'],
        ["x: !!binary '@@@@'", "y: !!set {a, b}", "z: !!timestamp 2001-99-99"],
        ["? [a, b]", ": c"],
        ["x: " + "[" * DEEP],
        ["x: " + "{a: " * 2000],
        ["x: " + "9" * 6000],
        ["x: 1_000:99", "y: 0o777", "z: .nan"],
        lines[:3],
        ["---", "second: document"],
        ["%YAML 9.9", "---"],
        ["\t x: tab"],
        ["x: |", "  text", " less"],
    )
    return "\n".join([*lines[:at], *rng.choice(added), *lines[at:]]) + "\n"


def spoil_csv(rng: random.Random, data: bytes) -> bytes:
    """A table with other cells, lines or columns."""
    if rng.random() < 0.2:
        return spoil_bytes(rng, data)
    lines = data.decode().split("\n")
    for _ in range(rng.randint(1, 3)):
        number = rng.randrange(len(lines))
        cells = lines[number].split(" " if number == 0 else ",")
        choice = rng.randrange(8)
        if choice <= 4:
            cell = rng.randrange(len(cells))
            odd = ("[" * DEEP, "9" * 6000, "a=" + "[" * DEEP, "a=1 a=2", "8x8x" + "9" * 50, '"', "os")
            words = (*map(str, VALUES[:-1]), *odd)
            name, sign, _ = cells[cell].partition("=")
            cells[cell] = (name + sign if sign and rng.random() < 0.7 else "") + rng.choice(words)
        elif choice == 5:
            cells.pop(rng.randrange(len(cells)))
        elif choice == 6:
            cells.insert(rng.randrange(len(cells)), rng.choice(("", "x", '"a\nb"')))
        else:
            lines.insert(rng.randrange(len(lines)), lines[number])
        lines[number] = (" " if number == 0 else ",").join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")
