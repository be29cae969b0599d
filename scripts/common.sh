# What the scripts share. Sourced, not run: the caller has set -euo pipefail and stands in the project's folder.

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf '\n%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# A toolchain that can build the workspace, or a message that says how to get one.
need_cargo() {
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" # rustup was installed, and the shell not started again
        export PATH
    fi
    command -v cargo >/dev/null || fail "cargo is missing. Install Rust from https://rustup.rs :
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
then start a new shell (or '. ~/.cargo/env') and run this again."

    local wanted have oldest
    wanted=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
    if ! cargo --version >/dev/null 2>&1 && command -v rustup >/dev/null; then
        say "installing Rust $wanted (rust-toolchain.toml)"
        rustup toolchain install "$wanted" --profile minimal --component rustfmt --component clippy ||
            fail "rustup could not install Rust $wanted, which rust-toolchain.toml asks for."
    fi
    have=$(cargo --version | cut -d' ' -f2) || fail "cargo is there but does not run; see its message above."
    oldest=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
    [ "$(printf '%s\n' "$oldest" "${have%%-*}" | sort -V | head -n1)" = "$oldest" ] ||
        fail "cargo $have is too old: at least $oldest is needed. Debian's own packages are older than that; https://rustup.rs has it."
}

# As root: by itself, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# What of "$@" is not installed, one name a line.
missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
    done
}

# Installs what is missing of "$@" from Debian's packages, and starts none of the services they bring.
need_packages() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        say "this is no Debian: nothing is installed. Needed, by Debian's names: $*"
        return 0
    fi
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0

    say "installing from Debian: ${missing[*]}"
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        fail "root or sudo is needed to install these packages. As root:
    apt-get install --no-install-recommends ${missing[*]}"
    fi
    # In a shell of its own, so that its trap takes policy-rc.d away again however the installation ends.
    as_root env DEBIAN_FRONTEND=noninteractive bash -euo pipefail -s -- "${missing[@]}" <<'INSTALL' ||
policy=/usr/sbin/policy-rc.d
kept=
restore() {
    rm -f "$policy"
    [ -z "$kept" ] || mv "$kept" "$policy"
}
if [ -e "$policy" ]; then
    kept=$(mktemp "$policy.XXXXXX")
    mv "$policy" "$kept"
fi
trap restore EXIT
trap 'exit 1' INT TERM HUP
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

# stdin is this script: apt-get must not read it. --no-remove: a mail server that is already in use stays.
apt-get update -qq </dev/null
apt-get install -y -qq --no-install-recommends --no-remove "$@" </dev/null

# A service that was not here before does not start with the machine either.
if command -v systemctl >/dev/null; then
    for name in "$@"; do
        case $name in
        postfix | postgresql) systemctl disable --quiet "$name" </dev/null 2>&1 || true ;;
        mariadb-server) systemctl disable --quiet mariadb </dev/null 2>&1 || true ;;
        esac
    done
fi
INSTALL
        fail "the packages could not be installed; see apt-get's message above. (Postfix cannot stand beside another
mail server, such as exim4; nothing is ever removed for it. Use another machine or a container then.)"
}

# To compile: the C parts of SQLite, LMDB, PCRE2 and ring are in their crates.
BUILD_PACKAGES=(ca-certificates gcc libc6-dev)
