#!/bin/bash
# deploy.sh HOME HOST BACKEND FRONTEND PROXY: what ninefold-roll runs from within an unpacked bundle. Fetches secrets, puts
# them and the bundle's files in place, rolls, and notes what runs. When the roll fails, the former ones are put back.
set -euo pipefail
home=$1 host=$2
registry=$NINEFOLD_REGISTRY/$NINEFOLD_NAME
backend=$registry-backend@$3 frontend=$registry-frontend@$4 proxy=$registry-proxy@$5
runs="$2 $3 $4 $5"
declare -A secrets=([keys]=backend/keys.json [page]=frontend/page.env [sign-in]=frontend/secrets.toml [tls]=proxy/site.pem)
certificate=$home/secrets/${secrets[tls]}
# Not beside them: HAProxy reads every file of its folder.
fetched=$home/secrets/.fetched former_secrets=$home/secrets/.former
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

# One that nobody put is no file; who needs it says so when it starts. Whatever else keeps one from being read ends the roll
# before anything has changed.
fetch_secrets() {
    local name said
    rm -rf "$fetched"
    mkdir -p "$home/secrets"
    mkdir -m 700 "$fetched"
    for name in "${!secrets[@]}"; do
        if ! said=$({ umask 077 && aws ssm get-parameter --name "$NINEFOLD_SECRETS/$name" --with-decryption \
            --query Parameter.Value --output text >"$fetched/$name"; } 2>&1); then
            rm "$fetched/$name"
            [[ $said == *ParameterNotFound* ]] || {
                rm -r "$fetched"
                echo "deploy: $NINEFOLD_SECRETS/$name cannot be read, so nothing is rolled: $said" >&2
                exit 1
            }
        else
            chown "$user" "$fetched/$name"
        fi
    done
    # Whatever else is wrong with them, the server that runs follows them at once.
    if [[ -e $fetched/keys && ! $(<"$fetched/keys") =~ ^[[:space:]]*\{.*\}[[:space:]]*$ ]]; then
        rm -r "$fetched"
        echo "deploy: $NINEFOLD_SECRETS/keys is no file of keys, so nothing is rolled" >&2
        exit 1
    fi
}

# All at once, since a server that runs follows its keys, and takes the rest when it starts. A former one that is there already
# was left by a roll that was killed, and is the last that was taken; an empty one says that there was none.
place_secrets() {
    local name path
    [[ -d $former_secrets ]] || mkdir -m 700 "$former_secrets"
    for name in "${!secrets[@]}"; do
        path=$home/secrets/${secrets[$name]}
        mkdir -p "${path%/*}"
        [[ -e $former_secrets/$name ]] || {
            if [[ -e $path ]]; then cp -p "$path" "$fetched/.former"; else : >"$fetched/.former"; fi
            mv "$fetched/.former" "$former_secrets/$name"
        }
    done
    for name in "${!secrets[@]}"; do
        path=$home/secrets/${secrets[$name]}
        if [[ -e $fetched/$name ]]; then mv "$fetched/$name" "$path"; else rm -f "$path"; fi
    done
    rm -r "$fetched"
}

# put_back NAME...: what was not taken must not be what is found when the host starts again. Not keys: the server that runs
# follows them, and one that was revoked must not become good again because something else failed. Save where nobody put new
# ones: without any, nothing starts.
put_back() {
    local name path
    for name in "$@"; do
        path=$home/secrets/${secrets[$name]}
        if [[ $name == keys && -e $path ]]; then continue; fi
        if [[ -s $former_secrets/$name ]]; then mv "$former_secrets/$name" "$path"; else rm -f "$path"; fi
    done
    rm -rf "$former_secrets"
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

former=$(cat "$home/bundle" 2>/dev/null || true)
fetch_secrets
place "$home/bundles/${host#sha256:}"
programs
place_secrets
if ! roll; then
    [[ -z $former ]] || place "$home/bundles/$former"
    put_back "${!secrets[@]}"
    echo "deploy: the roll failed; what ran before runs on, with the keys as they are now: one that was revoked stays so" >&2
    exit 1
fi
rm -f "$former_secrets"/{keys,page,sign-in}
aws ssm put-parameter --name "$NINEFOLD_RUNS" --type String --overwrite --value "$runs" >/dev/null
if ! take_certificate; then
    put_back tls
    echo "deploy: runs $runs, but the proxy did not take the certificate ($NINEFOLD_SECRETS/tls); the former one stays" >&2
    exit 1
fi
rm -rf "$former_secrets"
echo "deploy: runs $runs"
