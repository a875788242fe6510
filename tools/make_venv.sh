#!/bin/sh
# usage: PYTHON=python3 make_venv.sh FOLDER
# Make a virtual environment. Debian keeps two parts of Python in packages of their own: they are
# installed where that may be done without asking, and named where not.
set -eu
folder=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "llamacpp needs Python 3.10 or newer: make PYTHON=/path/to/python3" >&2
    exit 1
fi

# Names of the Debian packages whose parts this Python lacks.
missing=$("$python" - <<'PYTHON'
import os, sys, sysconfig
name = "python%d.%d" % sys.version_info[:2]
try:
    import ensurepip, venv
except ImportError:
    print(name + "-venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print(name + "-dev")
PYTHON
)

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root=sudo
    else
        as_root=unavailable
    fi
    if [ "$as_root" = unavailable ] || ! command -v apt-get >/dev/null; then
        echo "$python lacks parts that building needs. Install them, then run make again:" >&2
        echo "    sudo apt-get install" $missing >&2
        exit 1
    fi
    echo "installing" $missing
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq
    $as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi

"$python" -m venv "$folder" || { rm -rf "$folder"; exit 1; } # no half of one
