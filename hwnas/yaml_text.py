"""Reading YAML from strangers: plain values only, every key once, bounded in size and depth; every refusal one line.

Differs from `yaml.safe_load`: a repeated key is an error (YAML 1.2 says so; PyYAML keeps the last), anchors and aliases
are not read (a page of them stands for gigabytes), nesting is bounded, and text that no file or terminal can hold (NUL,
half of a surrogate pair) is refused where it stands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import HwnasError
from hwnas.paths import read_text

SIZE_LIMIT = 1 << 20  # a run file or a profile is two pages; PyYAML reads about 100 KB a second
DEPTH_LIMIT = 32  # ours nest four deep; PyYAML composes by recursion


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the refusals above."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.constructor.ConstructorError(None, None, "anchors and aliases are not read", event.start_mark)
        if self.depth >= DEPTH_LIMIT:
            raise yaml.constructor.ConstructorError(
                None, None, f"nested more than {DEPTH_LIMIT} deep", event.start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in node.value):
            raise yaml.constructor.ConstructorError(None, None, "text must not hold NUL or half a character",
                                                    node.start_mark)  # fmt: skip
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as problem:  # a number of 5,000 digits, a thirteenth month
            raise yaml.constructor.ConstructorError(None, None, f"{problem}", node.start_mark) from None


def read_yaml(path: Path) -> Any:
    """The one document in `path`; HwnasError names the file, line and column of what is wrong."""
    text = read_text(path, SIZE_LIMIT)
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        reason = getattr(problem, "problem", None) or str(problem)
        raise HwnasError(f"{path}{where} is not valid YAML: {' '.join(str(reason).split())[:200]}") from None
