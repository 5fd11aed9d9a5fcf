"""Start-up code and memory map of the Cortex-M test program: it runs a model on files through semihosting.

The boards are Arm's MPS2 AN386 (Cortex-M4) and AN500 (Cortex-M7), which qemu-system-arm emulates: 4 MiB of code
memory, 4 MiB of data.
"""

STARTUP = """\
#include "{name}.h"

_Alignas({alignment}) static unsigned char input[{NAME}_INPUT_BYTES];
_Alignas({alignment}) static unsigned char output[{NAME}_OUTPUT_BYTES];
_Alignas({alignment}) static unsigned char arena[{NAME}_ARENA_BYTES];
extern unsigned char stack_top, bss_start, bss_end;

static int host(int operation, const void *argument)
{{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}}

static int open_file(const char *path, int length, int mode)
{{
    const int block[3] = {{(int)path, mode, length}};
    return host(0x01, block);
}}

static int transfer(int operation, int file, void *data, int bytes) /* bytes left undone */
{{
    const int block[3] = {{file, (int)data, bytes}};
    return host(operation, block);
}}

static void leave(int code)
{{
    const int block[2] = {{0x20026, code}};
    host(0x20, block);
    for (;;) {{ }}
}}

__attribute__((used)) static void start(void)
{{
    *(volatile unsigned *)0xE000ED88 |= 0xFu << 20; /* the floating-point unit on */
    __asm__ volatile("dsb\\nisb");
    for (unsigned char *p = &bss_start; p < &bss_end; ++p)
        *p = 0;
    int from = open_file("in.bin", 6, 1), to = open_file("out.bin", 7, 5);
    if (from < 0 || to < 0)
        leave(2);
    while (transfer(0x06, from, input, sizeof input) == 0) {{
        int error = {name}_run_sized(input, output, arena, sizeof arena);
        if (error)
            leave(error);
        if (transfer(0x05, to, output, sizeof output))
            leave(2);
    }}
    leave(0);
}}

__attribute__((used)) static void fault(void) {{ leave(99); }}

__attribute__((section(".vectors"), used)) void *const vectors[] = {{
    &stack_top, start, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault,
}};
"""

LINKER_SCRIPT = """\
MEMORY { CODE (rx) : ORIGIN = 0, LENGTH = 4M  DATA (rw) : ORIGIN = 0x20000000, LENGTH = 4M }
ENTRY(start)
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text .text.*) *(.rodata .rodata.*)} > CODE
  .bss (NOLOAD) : ALIGN(16) { bss_start = .; *(.bss .bss.*) *(COMMON) . = ALIGN(16); bss_end = .; } > DATA
  .stray : { *(.data .data.*) *(.got .got.*) }
  ASSERT(SIZEOF(.stray) == 0, "the start-up code copies nothing to RAM")
  stack_top = ORIGIN(DATA) + LENGTH(DATA);
  /DISCARD/ : { *(.note*) *(.comment) *(.ARM.exidx*) *(.ARM.extab*) }
}
"""
