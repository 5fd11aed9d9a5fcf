"""Compiler target: `subject` is its name (`my-pc` of targets/my_pc.py); that and what LLVM reads are one machine."""

from __future__ import annotations

import re

from hwnas.kernels.machine import CompilerTarget
from hwnas.kernels.target import architecture, architecture_of, best_target, compiler_targets, parse_target, summary
from hwnas.testing import hold

# parts of an instruction set that cores of it may lack, which a target need not list
OPTIONAL = {"64bit", "vfp3d16sp", "vfp2sp"}


def is_of_an_instruction_set_that_links_for_its_triple(subject: str) -> None:
    target = _target(subject)
    shared = architecture(target.architecture)
    hold(re.fullmatch(shared.triple, target.triple), f"a triple of {target.architecture}, got {target.triple}")
    hold(architecture_of(target.triple) == target.architecture, f"{target.triple} leads to {target.architecture}")
    lacking = set(shared.needed) - OPTIONAL - set(target.features.split())
    hold(not lacking, f"all that {target.architecture} needs, lacking {sorted(lacking)}")
    hold(summary(subject).endswith("."), "the first docstring line says which machines it is for, and ends in a stop")


def is_the_same_machine_under_its_name_and_as_llvm_reads_it(subject: str) -> None:
    target, parsed = _target(subject), parse_target(subject)
    hold(parsed.features == set(target.features.split()), f"the features of its file, got {sorted(parsed.features)}")
    options = f"-mcpu={target.cpu}" + (f" -mattr={','.join(target.attributes)}" if target.attributes else "")
    spelt = parse_target(f"{target.triple} {options}")
    different = sorted(spelt.features ^ parsed.features)
    hold(not different, f"-mcpu and -mattr have the features of its file, but for {different}")


def is_what_a_machine_with_all_of_its_instructions_is_probed_as(subject: str) -> None:
    """A portable one never is: it is for the machines of strangers."""
    target = _target(subject)
    shared = architecture(target.architecture)
    flags = [shared.instructions[f].linux for f in target.features.split() if f in shared.instructions]
    for host in shared.hosts:
        found = best_target(host, flags)
        hold((found == subject) != target.portable, f"a {host} with {' '.join(flags)} is probed as {found}")
        for missing in [] if target.portable else flags:
            without = best_target(host, [flag for flag in flags if flag != missing])
            hold(without != subject, f"a {host} without {missing} is not probed as {subject}")


def _target(name: str) -> CompilerTarget:
    found = compiler_targets()
    hold(name in found, f"there is a target of that name, got {name!r}")
    return found[name]
