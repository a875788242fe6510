"""``llamacpp cpu``: the instruction-set levels of this machine, and the one in use."""

from __future__ import annotations

import argparse

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "cpu",
        help="show the kernel levels of this machine",
        description="Show the instruction-set levels that have kernels, which of them this "
        "machine runs, and which is in use. LLAMACPP_ISA=LEVEL forces one.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp._native import active_level, available_levels, ffi, lib
    from llamacpp.engine.threads import default_threads

    slots = range(lib.lk_n_kernels())
    for level in range(lib.LK_N_LEVELS):
        name = ffi.string(lib.lk_level_name(level)).decode()
        if name == active_level():
            state = "in use"
        elif name in available_levels():
            state = "available"
        else:
            state = "not on this machine"
        own = sum(lib.lk_kernel_has(slot, level) for slot in slots)
        print(f"{name:10} {state:20} {own:3} of {len(slots)} kernels of its own")
    print(f"threads    {default_threads()}")
    return 0
