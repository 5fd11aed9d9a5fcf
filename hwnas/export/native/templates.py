"""The fixed parts of the C that a model becomes. Doubled braces are literal: the texts go through str.format."""

HEADER = """\
#ifndef {NAME}_H
#define {NAME}_H
/* A model as a library: no runtime, no allocation, no threads. {input_layout}; images out are NCHW.
   Compiled for {target} */
#include <stddef.h>

{sizes}
#define {NAME}_ARENA_BYTES {arena_bytes}    /* working memory of one run */
#define {NAME}_ALIGNMENT {alignment}    /* of all three pointers */
#define {NAME}_STEPS {steps}

#define {NAME}_OK 0
#define {NAME}_NULL_POINTER 1
#define {NAME}_MISALIGNED 2
#define {NAME}_ARENA_TOO_SMALL 3
#define {NAME}_NO_SUCH_STEP 4
#define {NAME}_UNSUPPORTED_CPU 5

#ifdef __cplusplus
extern "C" {{
#endif
/* 1 where this CPU has every instruction set that the library uses, else 0: the runs below then return
   {NAME}_UNSUPPORTED_CPU. */
int {name}_supported(void);
/* Runs the model. `arena` holds at least {NAME}_ARENA_BYTES. Returns {NAME}_OK, or an error and writes nothing. */
int {name}_run(const void *input, void *output, void *arena);
/* The same, and refuses an arena of fewer bytes than it needs. */
int {name}_run_sized(const void *input, void *output, void *arena, size_t arena_bytes);
{each}/* One step (0 .. {NAME}_STEPS - 1), for timing; running all in order is one run. */
int {name}_step_run(int step, const void *input, void *output, void *arena);
/* The step's kind and ONNX node, or NULL. */
const char *{name}_step_name(int step);
size_t {name}_arena_bytes(void);
size_t {name}_input_bytes(void);
size_t {name}_output_bytes(void);
size_t {name}_alignment(void);
int {name}_step_count(void);
#ifdef __cplusplus
}}
#endif
#endif
"""

FILL_BYTES = """
static void fill_bytes(unsigned char *p, long rows, long interior, long top, long bottom, long left, long right,
                       int value)
{
    /* a row's right border and the next row's left border lie together */
    __builtin_memset(p, value, (size_t)(top + left));
    p += top + left + interior;
    for (long i = 1; i < rows; ++i) {
        __builtin_memset(p, value, (size_t)(right + left));
        p += right + left + interior;
    }
    __builtin_memset(p, value, (size_t)(right + bottom));
}
"""

FILL_PATTERN = """
static unsigned char *repeat(unsigned char *p, long bytes, const unsigned char *pattern, long length)
{
    for (long i = 0; i < bytes; ++i)
        p[i] = pattern[i % length];
    return p + bytes;
}

static void fill_pattern(unsigned char *p, long rows, long interior, long top, long bottom, long left, long right,
                         const unsigned char *pattern, long length)
{
    p = repeat(p, top, pattern, length);
    for (long i = 0; i < rows; ++i) {
        p = repeat(p, left, pattern, length) + interior;
        p = repeat(p, right, pattern, length);
    }
    repeat(p, bottom, pattern, length);
}
"""

RUN = """
static int check(const void *input, const void *output, const void *arena)
{{
    size_t bits = (size_t)input | (size_t)output | (size_t)arena;
    if (!input || !output || !arena)
        return {NAME}_NULL_POINTER;
    if (bits % {NAME}_ALIGNMENT)
        return {NAME}_MISALIGNED;
    return {name}_supported() ? {NAME}_OK : {NAME}_UNSUPPORTED_CPU;
}}

int {name}_run(const void *input, void *output, void *arena)
{{
{ends}
    int error = check(input, output, arena);
    if (error)
        return error;
{calls}
    return {NAME}_OK;
}}

int {name}_run_sized(const void *input, void *output, void *arena, size_t arena_bytes)
{{
    return arena_bytes < {NAME}_ARENA_BYTES ? {NAME}_ARENA_TOO_SMALL : {name}_run(input, output, arena);
}}

{each}int {name}_step_run(int step, const void *input, void *output, void *arena)
{{
{ends}
    int error = check(input, output, arena);
    if (error)
        return error;
    switch (step) {{
{cases}
    default: return {NAME}_NO_SUCH_STEP;
    }}
    return {NAME}_OK;
}}

const char *{name}_step_name(int step)
{{
    static const char *const names[] = {{
{names}
    }};
    return step >= 0 && step < {count} ? names[step] : NULL;
}}

size_t {name}_arena_bytes(void) {{ return {NAME}_ARENA_BYTES; }}
size_t {name}_input_bytes(void) {{ return {NAME}_INPUT_BYTES; }}
size_t {name}_output_bytes(void) {{ return {NAME}_OUTPUT_BYTES; }}
size_t {name}_alignment(void) {{ return {NAME}_ALIGNMENT; }}
int {name}_step_count(void) {{ return {NAME}_STEPS; }}
"""

CONSTANTS_ASSEMBLY = """\
    .section .rodata.{name}_constants,"a",%progbits
    .balign {alignment}
    .globl {name}_constants
    .type {name}_constants, %object
{name}_constants:
    .incbin "{file}"
    .size {name}_constants, . - {name}_constants
    .section .note.GNU-stack,"",%progbits
"""

CONSTANTS_C = """\
__attribute__((aligned({alignment}))) const unsigned char {name}_constants[] = {{
#embed "{file}"
}};
"""

EXAMPLE = """\
/* cc -O2 example.c lib{name}.a -o example && ./example */
#include <stdio.h>
#include "{name}.h"

{memory}
_Alignas({NAME}_ALIGNMENT) static unsigned char arena[{NAME}_ARENA_BYTES];
{preprocess}
int main(void)
{{
{given}
    int error = {run};
    if (error) {{
        fprintf(stderr, "{name} returned %d%s\\n", error,
                error == {NAME}_UNSUPPORTED_CPU ? ": this CPU lacks instructions that the library uses" : "");
        return error;
    }}
{shown}
    return 0;
}}
"""

BENCH = """\
/* bench [repeats] [warm-up] [--steps] [--loop K]   times the model and prints JSON (nanoseconds a run; a sample
                                                    is the mean of K runs back to back)
   bench --run in.bin out.bin                       runs every {sample} of in.bin, writes the outputs */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "{name}.h"

_Alignas(64) static unsigned char input[{NAME}_INPUT_BYTES];
_Alignas(64) static unsigned char output[{NAME}_OUTPUT_BYTES];
_Alignas(64) static unsigned char arena[{NAME}_ARENA_BYTES];

static double now(void)
{{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}}

static int run_file(const char *from, const char *to)
{{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    if (!in || !out) {{
        fprintf(stderr, "cannot open %s or %s\\n", from, to);
        return 2;
    }}
    while (fread(input, 1, sizeof input, in) == sizeof input) {{
        int error = {name}_run_sized(input, output, arena, sizeof arena);
        if (error)
            return error;
        if (fwrite(output, 1, sizeof output, out) != sizeof output)
            return 2;
    }}
    fclose(in);
    return fclose(out) ? 2 : 0;
}}

static double sample(int step, long loop)
{{
    double start = now();
    for (long i = 0; i < loop; ++i)
        step < 0 ? {name}_run(input, output, arena) : {name}_step_run(step, input, output, arena);
    return (now() - start) / (double)loop;
}}

static void print_samples(int step, long repeats, long warmup, long loop)
{{
    for (long i = 0; i < warmup; ++i)
        sample(step, 1);
    printf("[");
    for (long i = 0; i < repeats; ++i)
        printf("%s%.1f", i ? ", " : "", sample(step, loop));
    printf("]");
}}

int main(int argc, char **argv)
{{
    long repeats = 50, warmup = 10, loop = 1, position = 0;
    int steps = 0;
    if (argc == 4 && !strcmp(argv[1], "--run"))
        return run_file(argv[2], argv[3]);
    for (int i = 1; i < argc; ++i) {{
        if (!strcmp(argv[i], "--steps"))
            steps = 1;
        else if (!strcmp(argv[i], "--loop") && i + 1 < argc)
            loop = atol(argv[++i]);
        else if (position++ == 0)
            repeats = atol(argv[i]);
        else
            warmup = atol(argv[i]);
    }}
    if (repeats < 1 || warmup < 0 || loop < 1) {{
        fprintf(stderr, "usage: bench [repeats >= 1] [warm-up >= 0] [--steps] [--loop K >= 1]\\n");
        return 2;
    }}
    unsigned state = 1;
{draw}
    int error = {name}_run_sized(input, output, arena, sizeof arena);
    if (error) {{
        fprintf(stderr, "{name}_run returned %d%s\\n", error,
                error == {NAME}_UNSUPPORTED_CPU ? ": this CPU lacks instructions that the library uses" : "");
        return 1;
    }}
    printf("{{\\"schema\\": 1, \\"unit\\": \\"ns\\", ");
    printf("\\"warmup\\": %ld, \\"loop\\": %ld, \\"samples\\": ", warmup, loop);
    print_samples(-1, repeats, warmup, loop);
    if (steps) {{
        printf(", \\"steps\\": [");
        for (int s = 0; s < {name}_step_count(); ++s) {{
            printf("%s\\n {{\\"name\\": \\"%s\\", \\"samples\\": ", s ? "," : "", {name}_step_name(s));
            print_samples(s, repeats, warmup, loop);
            printf("}}");
        }}
        printf("]");
    }}
    printf("}}\\n");
    return 0;
}}
"""
