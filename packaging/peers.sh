#!/bin/sh
# peers.sh: sees to the real servers and clients that tests and benchmarks talk to. They are no part of Predis: without
# them the tests that need them are skipped, so this never fails.
here=$(dirname "$0")
packages=
for pair in redis-server:redis-server redis-benchmark:redis-tools redis-cli:redis-tools prometheus:prometheus \
    promtool:prometheus node:nodejs npm:npm; do
    command -v "${pair%%:*}" >/dev/null 2>&1 && continue
    case " $packages " in *" ${pair#*:} "*) ;; *) packages="$packages ${pair#*:}" ;; esac
done
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086
    if ! sh "$here/install-packages.sh" "real peers for the tests" $packages; then
        echo "Predis: WARNING: the tests against$packages will be SKIPPED." >&2
    fi
fi

# The JavaScript clients, from npm's registry. What they are is written in the tests' own package.json.
wanted=$here/../tests/core_cache/clients/package.json
folder=${NPM_FOLDER:-$here/../build/clients} # NPM_FOLDER is for the tests of this script
if command -v npm >/dev/null 2>&1 && ! cmp -s "$wanted" "$folder/installed.json"; then
    echo "Installing the npm packages that the tests drive into build/clients ..."
    mkdir -p "$folder" && cp "$wanted" "$folder/package.json"
    if npm install --prefix "$folder" --no-package-lock --no-audit --no-fund --loglevel=error >"$folder/npm.log" 2>&1; then
        cp "$wanted" "$folder/installed.json"
    else
        tail -n 5 "$folder/npm.log" >&2
        echo "Predis: WARNING: npm could not install them: the tests with node-redis and ioredis will be SKIPPED." >&2
    fi
fi
exit 0
