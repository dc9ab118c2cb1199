#!/bin/bash
# start [check]: the proxy, with the certificates (PEM, key included) of $NINEFOLD_TLS_DIR, else with one of its own making.
# `check` says whether it would start so, also beside the proxy that runs: 0, or HAProxy's reason and 1.
set -euo pipefail
shopt -s nullglob
certificates=("$NINEFOLD_TLS_DIR"/*.pem)
if [[ ${#certificates[@]} == 0 ]]; then
    export NINEFOLD_TLS_DIR=/tmp/tls
fi
if [[ ${#certificates[@]} == 0 && ! -e /tmp/tls/self-signed.pem ]]; then
    mkdir -p "$NINEFOLD_TLS_DIR"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=$NINEFOLD_DOMAIN" \
        -addext "subjectAltName=DNS:$NINEFOLD_DOMAIN" -keyout /tmp/key -out /tmp/certificate 2>/dev/null
    cat /tmp/certificate /tmp/key >"$NINEFOLD_TLS_DIR/self-signed.pem"
    rm /tmp/certificate /tmp/key
    echo "No certificate (*.pem) in the folder for them: a self-signed one is used, which browsers warn of." >&2
fi
if [[ ${1:-} == check ]]; then
    exec haproxy -c -q -f /etc/haproxy/haproxy.cfg
fi
# SIGUSR2 has it read certificates and settings anew, without dropping a connection.
exec haproxy -W -f /etc/haproxy/haproxy.cfg
