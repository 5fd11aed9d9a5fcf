"""The C text of a model: header, the run function and its steps. No allocation, no library calls beyond memset."""

from __future__ import annotations

from hwnas.export.native import interface
from hwnas.export.native.interface import comment
from hwnas.export.native.program import Call, Fill, Program
from hwnas.export.native.templates import FILL_BYTES, FILL_PATTERN, HEADER, RUN


def header(program: Program, name: str, target: str) -> str:
    """`<name>.h`; `target` is said in its first comment."""
    return HEADER.format(
        NAME=name.upper(),
        name=name,
        input_layout=interface.layout(program),
        sizes=interface.sizes(program, name),
        each=interface.declared_each(program, name),
        target=comment(target),
        arena_bytes=program.arena_bytes,
        alignment=program.alignment,
        steps=len(program.calls),
    )


def source(program: Program, name: str, cpu_check: str) -> str:
    """`<name>.c`: one static function a step, checked entry points around them; `cpu_check` is C (`cpu_check.py`)."""
    symbols: dict[str, int] = {}
    for call in program.calls:
        symbols[call.symbol] = len(call.pointers)
    lines = [f'#include "{name}.h"', "", f"extern const unsigned char {name}_constants[];"]
    lines += [f"extern void {symbol}({', '.join(['const void *'] * count)});" for symbol, count in symbols.items()]
    fills = [fill for call in program.calls for fill in call.fills]
    if any(len(set(fill.pattern)) == 1 for fill in fills):
        lines.append(FILL_BYTES)
    if any(len(set(fill.pattern)) > 1 for fill in fills):
        lines.append(FILL_PATTERN)
    for index, call in enumerate(program.calls):
        lines += _step(program, index, call, name)
    lines.append(cpu_check)
    lines.append(
        RUN.format(
            NAME=name.upper(),
            name=name,
            ends=interface.unpacked(program),
            each=interface.defined_each(program, name, _calls(program)),
            calls=_calls(program),
            cases=_cases(program),
            names=_names(program),
            count=len(program.calls),
        )
    )
    return "\n".join(lines) + "\n"


def _step(program: Program, index: int, call: Call, name: str) -> list[str]:
    lines = [
        f"/* {comment(call.kind)} {comment(call.node)} */",
        f"static void step_{index}({interface.parameters(program)})",
        "{",
        "    (void)input; (void)output; (void)arena;",
    ]
    lines += ["    " + _fill(fill, number, index) for number, fill in enumerate(call.fills)]
    arguments = ", ".join(interface.argument(program, place, offset, name) for place, offset in call.pointers)
    return [*lines, f"    {call.symbol}({arguments});", "}", ""]


def _fill(fill: Fill, number: int, index: int) -> str:
    sizes = f"arena + {fill.offset}, {fill.rows}, {fill.interior}, {fill.top}, {fill.bottom}, {fill.left}, {fill.right}"
    if len(set(fill.pattern)) == 1:
        return f"fill_bytes({sizes}, {fill.pattern[0]});"
    values = ", ".join(map(str, fill.pattern))
    return (
        f"{{ static const unsigned char pattern_{index}_{number}[] = {{{values}}};\n"
        f"      fill_pattern({sizes}, pattern_{index}_{number}, {len(fill.pattern)}); }}"
    )


def _calls(program: Program) -> str:
    return "\n".join(f"    step_{index}(x, y, work);" for index in range(len(program.calls)))


def _cases(program: Program) -> str:
    return "\n".join(f"    case {index}: step_{index}(x, y, work); break;" for index in range(len(program.calls)))


def _names(program: Program) -> str:
    def text(call: Call) -> str:
        # neither C nor JSON (the bench prints names) needs an escape for what is left
        label = f"{call.kind} {call.node}".replace("\\", "/").replace('"', "'")
        return "".join(letter if " " <= letter <= "~" else "?" for letter in label)

    return ",\n".join(f'    "{text(call)}"' for call in program.calls)
