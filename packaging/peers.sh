#!/bin/sh
# peers.sh: sees to the real servers that tests and benchmarks talk to. They are no part of Predis: without them the
# tests that need them are skipped, so this never fails.
here=$(dirname "$0")
packages=
for pair in redis-server:redis-server redis-benchmark:redis-tools redis-cli:redis-tools prometheus:prometheus promtool:prometheus; do
    command -v "${pair%%:*}" >/dev/null 2>&1 && continue
    case " $packages " in *" ${pair#*:} "*) ;; *) packages="$packages ${pair#*:}" ;; esac
done
[ -n "$packages" ] || exit 0
# shellcheck disable=SC2086
if ! sh "$here/install-packages.sh" "real peers for the tests" $packages; then
    echo "Predis: WARNING: the tests against$packages will be SKIPPED." >&2
fi
exit 0
