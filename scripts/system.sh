# What every script shares: one cache outside the clone, and packages of the system.
# Sourced, not run.
# shellcheck shell=bash

cache="${MERIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/merit}"
mkdir -p "$cache"

install_packages() {
    [ $# -gt 0 ] || return 0
    echo "installing $*" >&2
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "$@" >/dev/null
}
