#!/bin/sh
# usage: c_warnings.sh FILE...
# Every C file through every compiler found, for x86-64 and AArch64, with warnings as errors.
# With REQUIRE_ALL=1 a compiler that is missing is an error.
set -u
status=0

check() {
    compiler=$1
    shift
    if ! command -v "${compiler%% *}" >/dev/null; then
        echo "C warnings: no ${compiler%% *}"
        [ "${REQUIRE_ALL:-0}" = 0 ] || status=1
        return
    fi
    if printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 \
        $compiler -std=gnu11 -fsyntax-only -ffp-contract=off -Wall -Wextra -Werror -Icsrc; then
        echo "C warnings: none from $compiler"
    else
        status=1
    fi
}

check gcc "$@"
check clang "$@"
check aarch64-linux-gnu-gcc "$@"
check "clang --target=aarch64-linux-gnu -isystem /usr/aarch64-linux-gnu/include" "$@"
exit $status
