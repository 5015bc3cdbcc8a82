#!/usr/bin/env bash
# Runs one of the Python programs of examples/clients with what it needs, which is fetched once: scripts/python_clients.sh PROGRAM ARGUMENTS...
set -euo pipefail
. "$(dirname "$0")/system.sh"

version=2.11.1
tools="$cache/confluent-kafka-$version"
exec 8>"$tools.lock"
flock 8
if [ ! -e "$tools/whole" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "confluent-kafka[avro,schemaregistry]==$version"
    touch "$tools/whole"
fi
exec 8>&-
PYTHONDONTWRITEBYTECODE=1 exec "$tools/bin/python3" "$@"
