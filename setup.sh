#!/bin/sh
# Sets usviewer up in .venv on Debian 12 (or any Debian/Ubuntu with Python 3.11 or newer), system libraries included.
# "./setup.sh test" adds what the tests need. Safe to run again.
set -eu
cd "$(dirname "$0")"
packages="python3-venv libegl1 libgl1 libglib2.0-0 libxkbcommon-x11-0 libdbus-1-3 libfontconfig1 libxcb-cursor0 \
libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1"
# For the tests: a screen that is watched, a network that leads nowhere (nothing is sent), other languages (typed numbers).
[ "${1:-}" = test ] && packages="$packages xvfb iproute2 locales"

missing() {
    for package in $packages; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' || echo "$package"
    done
}

if command -v apt-get >/dev/null && [ -n "$(missing)" ]; then
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    $as_root apt-get update -q
    # shellcheck disable=SC2046  # a list of package names
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y --no-install-recommends $(missing)
fi

python=$(command -v python3.11 || command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "usviewer needs Python 3.11 or newer; this is $("$python" --version)." >&2
    exit 1
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check ${1:+--editable} ".${1:+[$1]}"
