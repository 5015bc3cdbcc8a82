# Set-up of every script that builds Merit: tools of the system, RocksDB built once.
# Sourced, not run.

. scripts/system.sh
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"

need_packages() {
    local missing=()
    command -v cc >/dev/null && command -v c++ >/dev/null || missing+=(build-essential)
    compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null || compgen -G '/usr/lib/*/libclang*.so*' | grep -vq cpp || missing+=(libclang-dev)
    # OpenSSL, for encrypted connections to brokers.
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
    command -v strace >/dev/null || missing+=(strace)
    command -v curl >/dev/null || missing+=(curl)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    install_packages "${missing[@]}"
}

# RocksDB is C++ and takes most of a cold build. Cargo builds it again whenever a feature of an unrelated crate moves,
# so the library is kept beside the target directory, by its version, and linked from there.
keep_rocksdb() {
    local version
    version=$(sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
    local kept="$cache/rocksdb-$version-$(uname -m)"
    if [ ! -f "$kept/librocksdb.a" ]; then
        echo "building RocksDB $version, once; about 12 minutes on two cores" >&2
        cargo build --locked --release -p merit-runtime
        local built
        built=$(ls -t "$CARGO_TARGET_DIR"/release/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)
        mkdir -p "$kept"
        cp "$built" "$kept/librocksdb.a.part"
        mv "$kept/librocksdb.a.part" "$kept/librocksdb.a"
    fi
    export ROCKSDB_LIB_DIR="$kept" ROCKSDB_STATIC=1
}

command -v cargo >/dev/null || { echo "a Rust toolchain is needed: https://rustup.rs" >&2; exit 1; }
need_packages
keep_rocksdb
