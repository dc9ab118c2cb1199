#!/bin/bash
# deploy.sh HOME HOST BACKEND FRONTEND PROXY: what ninefold-roll runs from within an unpacked bundle. Puts the bundle's
# files in place, rolls, and notes what runs. When the roll fails, the former bundle's files are put back.
set -euo pipefail
home=$1 host=$2
registry=$NINEFOLD_REGISTRY/$NINEFOLD_NAME
backend=$registry-backend@$3 frontend=$registry-frontend@$4 proxy=$registry-proxy@$5
runs="$2 $3 $4 $5"
plugins=${NINEFOLD_PLUGINS:-/usr/local/lib/docker/cli-plugins}
units=${NINEFOLD_UNITS:-/etc/systemd/system}
programs=${NINEFOLD_PROGRAMS:-/usr/local/bin}
user=${NINEFOLD_USER:-10001} # the containers' own

place() {
    cp -R "$1"/docker-compose*.yml "$1/scripts" "$1/infra" "$home/"
    if [[ -f $1/docker-compose ]]; then
        install -D -m 755 "$1/docker-compose" "$plugins/docker-compose"
    fi
    printf '%s\n' "${1##*/}" >"$home/bundle"
}

# secret PARAMETER FILE: one that is not there leaves what is here; who needs it says so when it starts.
secret() {
    local path=$home/secrets/$2
    mkdir -p "${path%/*}"
    if (umask 077 && aws ssm get-parameter --name "$NINEFOLD_SECRETS/$1" --with-decryption --query Parameter.Value \
        --output text >"$path.new"); then
        chown "$user" "$path.new"
        mv "$path.new" "$path"
    else
        rm -f "$path.new"
    fi
}

# Both are this bundle's own from now on; the `ninefold-roll` that runs keeps the file that it began with.
programs() {
    install -m 755 "$home/infra/host/ninefold-roll.sh" "$programs/ninefold-roll"
    install -m 755 "$home/infra/host/ninefold-report.sh" "$programs/ninefold-report"
    install -m 644 "$home"/infra/host/ninefold-report.{service,timer} "$units/"
    systemctl daemon-reload
    systemctl enable --now ninefold-report.timer
}

# Chained, since `if` below turns off what ends a script at its first failure.
roll() {
    aws ecr get-login-password | docker login --username AWS --password-stdin "$NINEFOLD_REGISTRY" &&
        (cd "$home" && python3 -m scripts.roll --directory "$home" --backend "$backend" --frontend "$frontend" --proxy "$proxy")
}

former=$(cat "$home/bundle" 2>/dev/null || true)
place "$home/bundles/${host#sha256:}"
secret keys backend/keys.json
secret page frontend/page.env
secret sign-in frontend/secrets.toml
secret tls proxy/site.pem
programs
if ! roll; then
    [[ -z $former ]] || place "$home/bundles/$former"
    echo "deploy: the roll failed; what ran before runs on" >&2
    exit 1
fi
aws ssm put-parameter --name "$NINEFOLD_RUNS" --type String --overwrite --value "$runs" >/dev/null
# The proxy reads its certificates anew; a container that runs already would keep the old ones.
(cd "$home" && docker compose --env-file .env kill --signal SIGUSR2 proxy)
docker image prune --force --all --filter until=168h >/dev/null
find "$home/bundles" -mindepth 1 -maxdepth 1 -mtime +30 ! -name "${host#sha256:}" -exec rm -rf {} +
echo "deploy: runs $runs"
