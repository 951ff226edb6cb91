#!/bin/sh
# setup.sh VENV: makes the virtual environment with the first Python >= 3.11 that it finds ($PYTHON first), and sees
# to what the native build needs: a C++20 compiler and Python's headers.
set -u
venv=$1
here=$(dirname "$0")

fail() {
    echo "Predis: $1" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate"; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

if [ -n "${PYTHON:-}" ] && ! new_enough "$PYTHON"; then
    fail "PYTHON=$PYTHON is not a Python 3.11 or newer."
fi
if ! python=$(find_python); then
    sh "$here/install-packages.sh" "Python 3.11 or newer and a C++ compiler" python3 python3-venv python3-dev g++ || exit 1
    python=$(find_python) || fail "this system's python3 is older than 3.11; name a newer one: make setup PYTHON=/path/to/python3"
fi

# What that Python lacks. A Debian package per part exists only for Debian's own Pythons.
lacking() {
    "$python" - <<'END'
import importlib.util, os, sys, sysconfig
version = "python%d.%d" % sys.version_info[:2]
if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
    print(version + "-venv")
if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    print(version + "-dev")
END
}
packages=$(lacking)
compiler=${CXX:-g++}
command -v "${compiler%% *}" >/dev/null 2>&1 || packages="$packages g++"
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086
    sh "$here/install-packages.sh" "the build of Predis" $packages || exit 1
    [ -z "$(lacking)" ] || fail "$python still lacks $(lacking | tr '\n' ' ')after the installation; name another Python: make setup PYTHON=/path/to/python3"
fi

echo "Making the virtual environment $venv with $("$python" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])') ..."
"$python" -m venv "$venv" || fail "$python could not make the virtual environment $venv (see above)."
