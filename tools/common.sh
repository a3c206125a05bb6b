# Sourced by the scripts in this folder; needs `set -eu`. Messages begin with the script's name.

script=$(basename "$0")
install_log=.services/install.log

have() {
    command -v "$1" >/dev/null 2>&1
}

say() {
    echo "$script: $*"
}

fail() {
    say "$*" >&2
    exit 1
}

# run_exclusively NAME ARGUMENTS: run the script again under the lock NAME, so that a second one waits: `make run` and
# `make test` may run together. Without flock (macOS), there is no lock.
run_exclusively() {
    lock_name=$1
    shift
    mkdir -p .services
    if [ "${CHAT_LOCKED:-}" != "$lock_name" ] && have flock; then
        CHAT_LOCKED=$lock_name exec flock ".services/$lock_name.lock" "$0" "$@"
    fi
}

# apt_install PACKAGES: fails if this is not Debian, or the user is not root.
apt_install() {
    if [ "$(id -u)" != 0 ] || ! have apt-get; then
        return 1
    fi
    say "installing $* with apt-get (log: $install_log)"
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"; } >>"$install_log" 2>&1
}

# need PACKAGES: install them with apt-get or exit with a message that names them.
need() {
    apt_install "$@" || fail "$* needed. Install them (Debian: apt-get install $*)."
}

# npm_install SOURCE TARGET PROGRAM: TARGET holds what SOURCE/package-lock.json lists. Does nothing if it does already,
# which a copy of the lock file proves (times say nothing after a clone), and TARGET/PROGRAM exists.
npm_install() {
    if [ -e "$2/$3" ] && cmp -s "$1/package-lock.json" "$2/installed"; then
        return
    fi
    if ! have npm || ! have node; then
        need nodejs npm
    fi
    say "installing the packages in $1/package-lock.json"
    mkdir -p "$2"
    cp "$1/package.json" "$1/package-lock.json" "$2/"
    npm ci --prefix "$2" --no-audit --no-fund --loglevel=error
    cp "$1/package-lock.json" "$2/installed"
}
