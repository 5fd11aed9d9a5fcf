"""The C text of a model's inputs and outputs: sizes in the header, entry points, and how example and bench fill them.

With one input and one output, functions take a pointer to each. With several, the same functions take a block that
holds all inputs and one that holds all outputs, each at its offset, and `<name>_run_each` takes a pointer to each.
"""

from __future__ import annotations

from hwnas.export.native.ends import End
from hwnas.export.native.program import Program

#: element type -> its C name, what example.c gives, what bench.c draws (whole numbers may be places in a table: 0 or 1)
ELEMENTS = {
    "float32": ("float", "(float)(i % 7) / 7.0f", "(float)(state >> 8) / 8388608.0f - 1.0f"),
    "uint8": ("unsigned char", "(unsigned char)(i * 37 % 256)", "(unsigned char)(state >> 24)"),
    "int8": ("signed char", "(signed char)(i * 37 % 256 - 128)", "(signed char)(state >> 24)"),
    "int32": ("int", "(int)(i % 2)", "(int)(state >> 31)"),
    "int64": ("long long", "(long long)(i % 2)", "(long long)(state >> 31)"),
}

EACH_DECLARED = """\
/* The same with one pointer an input and one an output, in the order above. */
int {name}_run_each(const void *const inputs[{NAME}_INPUTS], void *const outputs[{NAME}_OUTPUTS], void *arena);
"""

EACH = """\
int {name}_run_each(const void *const inputs[{NAME}_INPUTS], void *const outputs[{NAME}_OUTPUTS], void *arena)
{{
    const unsigned char *x[{NAME}_INPUTS];
    unsigned char *y[{NAME}_OUTPUTS], *work = arena;
    for (int i = 0; inputs && i < {NAME}_INPUTS; ++i) {{
        int error = check(inputs[i], arena, arena);
        if (error)
            return error;
        x[i] = inputs[i];
    }}
    for (int i = 0; outputs && i < {NAME}_OUTPUTS; ++i) {{
        int error = check(outputs[i], arena, arena);
        if (error)
            return error;
        y[i] = outputs[i];
    }}
    if (!inputs || !outputs)
        return {NAME}_NULL_POINTER;
{calls}
    return {NAME}_OK;
}}

"""


def described(end: End) -> str:
    """Shape and type of one of them."""
    return f"{' x '.join(map(str, end.shape))} {end.type}"


def sizes(program: Program, name: str) -> str:
    """The header's definitions of bytes and, of several, offsets."""
    upper = name.upper()
    if not program.several:
        return (
            f"#define {upper}_INPUT_BYTES {program.input_bytes}    /* {described(program.inputs[0])} */\n"
            f"#define {upper}_OUTPUT_BYTES {program.output_bytes}    /* {described(program.outputs[0])} */"
        )
    lines = list[str]()
    for what, ends, total in (
        ("INPUT", program.inputs, program.input_bytes),
        ("OUTPUT", program.outputs, program.output_bytes),
    ):
        lines += [
            f"#define {upper}_{what}S {len(ends)}",
            f"#define {upper}_{what}_BYTES {total}    /* of the block that holds all of them */",
        ]
        for index, end in enumerate(ends):
            lines += [
                f"#define {upper}_{what}_{index}_OFFSET {end.offset}    /* {comment(end.name)} */",
                f"#define {upper}_{what}_{index}_BYTES {end.bytes}    /* {described(end)} */",
            ]
    return "\n".join(lines)


def layout(program: Program) -> str:
    """How the caller's memory lies, in words."""
    if program.several:
        return "Dense arrays in ONNX's order in"
    if program.input_type == "uint8" and program.inputs[0].scale is None:
        return "uint8 in, NHWC, as pixels lie"
    return f"{program.input_type} in, NCHW"


def declared_each(program: Program, name: str) -> str:
    """The header's entry for one pointer each; nothing where there is one input and one output."""
    return EACH_DECLARED.format(name=name, NAME=name.upper()) if program.several else ""


def defined_each(program: Program, name: str, calls: str) -> str:
    """Its definition."""
    return EACH.format(name=name, NAME=name.upper(), calls=calls) if program.several else ""


def unpacked(program: Program) -> str:
    """What the entry points that take blocks declare: x, y and work."""
    if not program.several:
        return "    const unsigned char *x = input;\n    unsigned char *y = output, *work = arena;"
    x = ", ".join(f"(const unsigned char *)input + {end.offset}" for end in program.inputs)
    y = ", ".join(f"(unsigned char *)output + {end.offset}" for end in program.outputs)
    return f"    const unsigned char *const x[] = {{{x}}};\n    unsigned char *const y[] = {{{y}}}, *work = arena;"


def parameters(program: Program) -> str:
    """Of the function of one step."""
    star = "*const *" if program.several else "*"
    return f"const unsigned char {star}input, unsigned char {star}output, unsigned char *arena"


def argument(program: Program, place: str, offset: int, name: str) -> str:
    """What a step passes to its kernel."""
    if program.several and place in ("input", "output"):
        ends = program.inputs if place == "input" else program.outputs
        return f"{place}[{[end.offset for end in ends].index(offset)}]"
    return f"{f'{name}_constants' if place == 'constants' else place} + {offset}"


def example(program: Program, name: str) -> dict[str, str]:
    """What example.c declares, gives and shows, and what bench.c draws."""
    upper = name.upper()
    memory, given, drawn, shown = list[str](), list[str](), list[str](), list[str]()
    for index, end in enumerate(program.inputs):
        element, value, draw = ELEMENTS[end.type]
        size = f"{upper}_INPUT_{index}_BYTES" if program.several else f"{upper}_INPUT_BYTES"
        array = f"input_{index}" if program.several else "input"
        memory.append(f"_Alignas({upper}_ALIGNMENT) static {element} {array}[{size} / sizeof({element})];")
        given.append(f"    for (size_t i = 0; i < sizeof {array} / sizeof *{array}; ++i)")
        given.append(f"        {array}[i] = {value};")
        if program.several:
            drawn.append(_drawn(element, f"input + {end.offset}", f"{size} / sizeof *x", draw))
        else:
            drawn.append(_drawn(element, "input", "sizeof input / sizeof *x", draw))
    for index, end in enumerate(program.outputs):
        element = ELEMENTS[end.type][0]
        size = f"{upper}_OUTPUT_{index}_BYTES" if program.several else f"{upper}_OUTPUT_BYTES"
        array = f"output_{index}" if program.several else "output"
        memory.append(f"_Alignas({upper}_ALIGNMENT) static {element} {array}[{size} / sizeof({element})];")
        shown.append(
            f"    for (size_t i = 0; i < sizeof {array} / sizeof *{array} && i < 10; ++i)\n"
            f'        printf("%g\\n", (double){array}[i]);'
        )
    inputs = ", ".join(f"input_{i}" for i in range(len(program.inputs)))
    outputs = ", ".join(f"output_{i}" for i in range(len(program.outputs)))
    each = f"{name}_run_each((const void *const[]){{{inputs}}}, (void *const[]){{{outputs}}}, arena)"
    return {
        "memory": "\n".join(memory),
        "given": "\n".join(given),
        "draw": "\n".join(drawn),
        "shown": "\n".join(shown),
        "run": each if program.several else f"{name}_run_sized(input, output, arena, sizeof arena)",
        "sample": "block of inputs" if program.several else f"{program.input_type} input",
    }


def _drawn(element: str, where: str, count: str, value: str) -> str:
    block = (
        f"    {element} *x = ({element} *){where};\n"
        f"    for (size_t i = 0; i < {count}; ++i) {{\n"
        "        state = state * 1664525u + 1013904223u;\n"
        f"        x[i] = {value};\n"
        "    }"
    )
    if where == "input":
        return block
    block = block.replace(f"({element} *){where}", f"({element} *)({where})")
    return "    {\n" + "\n".join(f"    {line}" for line in block.split("\n")) + "\n    }"


def comment(text: str) -> str:
    """A name as it may stand in a C comment."""
    return text.replace("*/", "* /").replace("\n", " ")
