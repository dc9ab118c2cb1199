#!/bin/bash
# deploy.sh HOME HOST BACKEND FRONTEND PROXY: what ninefold-roll runs from within an unpacked bundle. Fetches secrets, puts
# the bundle's files in place, rolls, and notes what runs. When the roll fails, the former bundle's files are put back.
set -euo pipefail
home=$1 host=$2
registry=$NINEFOLD_REGISTRY/$NINEFOLD_NAME
backend=$registry-backend@$3 frontend=$registry-frontend@$4 proxy=$registry-proxy@$5
runs="$2 $3 $4 $5"
certificate=$home/secrets/proxy/site.pem
former_certificate=$home/secrets/site.pem.former # not beside it: HAProxy reads every file of that folder
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

# secret PARAMETER FILE: one that nobody put is no file; who needs it says so when it starts. Whatever else keeps it from
# being read ends the roll before anything has changed.
secret() {
    local path=$home/secrets/$2 new=$home/secrets/new said
    mkdir -p "${path%/*}"
    if said=$({ umask 077 && aws ssm get-parameter --name "$NINEFOLD_SECRETS/$1" --with-decryption \
        --query Parameter.Value --output text >"$new"; } 2>&1); then
        chown "$user" "$new"
        mv "$new" "$path"
    else
        rm -f "$new"
        [[ $said == *ParameterNotFound* ]] ||
            { echo "deploy: $NINEFOLD_SECRETS/$1 cannot be read, so nothing is rolled: $said" >&2; exit 1; }
        rm -f "$path"
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

compose() {
    (cd "$home" && docker compose --env-file .env "$@")
}

# Chained, since `if` below turns off what ends a script at its first failure.
roll() {
    aws ecr get-login-password | docker login --username AWS --password-stdin "$NINEFOLD_REGISTRY" &&
        (cd "$home" && python3 -m scripts.roll --directory "$home" --backend "$backend" --frontend "$frontend" --proxy "$proxy")
}

# A proxy that runs already takes a changed certificate at a signal. To and from one of its own making it is started anew:
# that one lies in a folder of its own. Either only after HAProxy has looked at what is there now.
take_certificate() {
    local given=no own=no
    [[ ! -e $certificate ]] || given=yes
    ! compose exec --no-TTY proxy test -e /tmp/tls/self-signed.pem || own=yes
    compose exec --no-TTY proxy start check || return 1
    if [[ $given == "$own" ]]; then
        compose up --detach --no-deps --no-build --force-recreate proxy
    else
        compose kill --signal SIGUSR2 proxy
    fi
}

# One that was not taken must not be what the proxy finds when the host starts again.
put_certificate_back() {
    if [[ -e $former_certificate ]]; then
        mv "$former_certificate" "$certificate"
    else
        rm -f "$certificate"
    fi
}

former=$(cat "$home/bundle" 2>/dev/null || true)
# One that is there already was left by a roll that was killed, and is the last that the proxy took.
[[ -e $former_certificate || ! -e $certificate ]] || cp -p "$certificate" "$former_certificate"
secret keys backend/keys.json
secret page frontend/page.env
secret sign-in frontend/secrets.toml
secret tls proxy/site.pem
place "$home/bundles/${host#sha256:}"
programs
if ! roll; then
    [[ -z $former ]] || place "$home/bundles/$former"
    put_certificate_back
    echo "deploy: the roll failed; what ran before runs on" >&2
    exit 1
fi
aws ssm put-parameter --name "$NINEFOLD_RUNS" --type String --overwrite --value "$runs" >/dev/null
if ! take_certificate; then
    put_certificate_back
    echo "deploy: runs $runs, but the proxy did not take the certificate ($NINEFOLD_SECRETS/tls); the former one stays" >&2
    exit 1
fi
rm -f "$former_certificate"
echo "deploy: runs $runs"
