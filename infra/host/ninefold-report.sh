#!/bin/bash
# Tells CloudWatch whether page and API answer as a visitor would reach them: through the proxy, over TLS.
set -euo pipefail
set -a
# shellcheck source=/dev/null
source "${NINEFOLD_ETC:-/etc/ninefold}/where.env"
# shellcheck source=/dev/null
source "${NINEFOLD_ETC:-/etc/ninefold}/settings.env"
set +a
ready=1
# The certificate may be the proxy's own; whether it is trusted is not what is asked here.
curl --silent --fail --insecure --max-time 10 --output /dev/null \
    --resolve "$NINEFOLD_DOMAIN:443:127.0.0.1" "https://$NINEFOLD_DOMAIN/readyz" || ready=0
aws cloudwatch put-metric-data --namespace "$NINEFOLD_NAME" --metric-name Ready --value "$ready"
