#!/bin/sh
# install-packages.sh PURPOSE PACKAGE...: installs Debian packages where this user may (root, or sudo without a
# password), without starting the services they bring. Where that is not possible it says in one sentence what to
# type, and ends with status 1.
set -u
purpose=$1
shift

give_up() {
    echo "Predis: $1: install $(echo "$missing" | tr '\n' ' ' | sed 's/ *$//') yourself ($purpose), for example with: sudo apt-get install $(echo $missing)" >&2
    exit 1
}

missing=
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $package"
done
missing=${missing# }
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null 2>&1 || give_up "this is no Debian system"
if [ "$(id -u)" = 0 ]; then
    as_root=env
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n env"
else
    give_up "no right to install packages here"
fi

# While this file says 101, package scripts start no service. A policy that is already there stays as it is.
# (POLICY_RC_D is for the tests; apt itself reads no other file.)
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
if [ ! -e "$policy" ]; then
    undo() { $as_root rm -f "$policy"; }
    trap undo EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi

log=$(mktemp)
install() {
    # shellcheck disable=SC2086
    $as_root DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends $missing >"$log" 2>&1 </dev/null
}
echo "Installing Debian packages ($purpose): $missing ..."
if ! install; then
    $as_root apt-get -q update >>"$log" 2>&1 </dev/null
    if ! install; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        give_up "apt-get could not install them"
    fi
fi
rm -f "$log"

# A service that came just now, for tests only, shall not start at the next boot either.
if [ -d /run/systemd/system ]; then
    for package in $missing; do
        if $as_root systemctl cat "$package.service" >/dev/null 2>&1; then
            $as_root systemctl --quiet disable "$package.service" 2>/dev/null || true
        fi
    done
fi
