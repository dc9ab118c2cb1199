#!/bin/bash
# ninefold-roll HOST BACKEND FRONTEND PROXY: four digests. The first is that of a bundle under host/ in the code bucket,
# which is fetched, held to its digest, and does the rest; the others are images in the registry.
set -euo pipefail
[[ $# == 4 ]] || { echo "ninefold-roll: four digests are needed: host, backend, frontend, proxy" >&2; exit 2; }
for digest in "$@"; do
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "ninefold-roll: $digest is no digest" >&2; exit 2; }
done
home=${NINEFOLD_HOME:-/opt/ninefold}
etc=${NINEFOLD_ETC:-/etc/ninefold}
mkdir -p "$home/bundles"
exec 9>"$home/roll.lock"
flock --nonblock 9 || { echo "ninefold-roll: another roll is at work" >&2; exit 1; }

# where.env: the region, and what everything is named by. The settings are Terraform's, and may have changed; so may those
# of the server alone, whose parameter they name, and whose file Compose hands on.
set -a
# shellcheck source=/dev/null
source "$etc/where.env"
settings=$(aws ssm get-parameter --name "/$NINEFOLD_NAME/settings" --query Parameter.Value --output text)
printf '%s\n' "$settings" "NINEFOLD_BACKEND_ENV='$etc/backend.env'" >"$etc/settings.env"
# shellcheck source=/dev/null
source "$etc/settings.env"
set +a
servers=
if [[ -n ${NINEFOLD_BACKEND_SETTINGS:-} ]]; then
    servers=$(aws ssm get-parameter --name "$NINEFOLD_BACKEND_SETTINGS" --query Parameter.Value --output text)
fi
printf '%s\n' "$servers" >"$etc/backend.env"

name=${1#sha256:}
bundle=$home/bundles/$name
former=$(cat "$home/bundle" 2>/dev/null || true)
# First of all room: on a full disk nothing could be fetched, and no roll would ever end well again. Images in use stay.
docker image prune --force --all --filter until=24h >/dev/null
find "$home/bundles" -mindepth 1 -maxdepth 1 -mtime +1 ! -name "$name" ! -name "${former:-none}" -exec rm -rf {} +
if [[ ! -d $bundle ]]; then
    part=$(mktemp -d "$home/bundles/.new-XXXXXX")
    trap 'rm -rf "$part"' EXIT
    aws s3 cp --only-show-errors "s3://$NINEFOLD_CODE_BUCKET/host/$name.tar.gz" "$part/bundle.tar.gz"
    echo "$name  $part/bundle.tar.gz" | sha256sum --check --quiet
    mkdir "$part/bundle"
    tar -xzf "$part/bundle.tar.gz" -C "$part/bundle" --no-same-owner
    mv "$part/bundle" "$bundle"
fi
bash "$bundle/infra/host/deploy.sh" "$home" "$@"
