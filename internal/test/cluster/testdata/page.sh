# shellcheck shell=bash disable=SC2154
# What a page of the documentation is typed into: see docpages_test.go. port_* are set before.

# leave CODE takes down what was started.
leave() {
    local job
    for job in $(jobs -p); do kill "$job" 2>/dev/null; done
    wait
    exit "$1"
}

failed() {
    printf 'FAILED: %s\n' "$*"
    leave 1
}

note() { printf '%4ds $ %s\n' "$SECONDS" "$1"; }

# elsewhere prints arguments with the documented ports exchanged for this test's, one a line.
elsewhere() {
    local word
    moved=()
    for word in "$@"; do
        word=${word//127.0.0.1:5681/$port_api}
        word=${word//127.0.0.1:5682/$port_tls}
        word=${word//127.0.0.1:5685/$port_kds}
        word=${word//127.0.0.1:5678/$port_dp}
        moved+=("$word")
    done
}

global() {
    elsewhere "$@"
    case "$1" in
        dev | server)
            exec global "${moved[@]}" --api-addr "$port_api" --api-tls-addr "$port_tls" --kds-addr "$port_kds" \
                --peer-addr "$port_peer" --diagnostics-addr "$port_diagnostics"
            ;;
    esac
    command global "${moved[@]}"
}

zone() {
    elsewhere "$@"
    case "$1" in
        dev | server)
            case " ${moved[*]} " in *" --dp-addr "*) ;; *) moved+=(--dp-addr "$port_dp") ;; esac
            case " ${moved[*]} " in *" --api-addr "*) ;; *) moved+=(--api-addr 127.0.0.1:0 --diagnostics-addr 127.0.0.1:0) ;; esac
            exec zone "${moved[@]}"
            ;;
    esac
    command zone "${moved[@]}"
}

curl() {
    elsewhere "$@"
    command curl -sS --fail-with-body "${moved[@]}"
}

# within COMMAND… repeats a command until it succeeds, for a minute: what one types by
# hand comes later than what a script does.
within() {
    local end=$((SECONDS + 60))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# up DIR waits for a server: a zone's has to be connected.
up() {
    within ready "$1" || failed "the server of $1 does not come up"
}

ready() {
    [ -f "$1/endpoints.json" ] || return 1
    if [ -f "$1/raft.db" ]; then
        command global health --data-dir "$1" >/dev/null 2>&1
    else
        command zone status --data-dir "$1" -o json 2>/dev/null | grep -q '"connected": true'
    fi
}

once() {
    local code
    eval "$1" >.said 2>&1
    code=$?
    return "$code"
}

# step LINE types a line that must succeed. What zones have to hear of first is repeated.
step() {
    note "$1"
    case "$1" in
        "zone verify"* | *"| global apply"*) within once "$1" || { cat .said && failed "$1"; } ;;
        *) # in this shell: it may set variables and start jobs
            eval "$1" || failed "$1"
            return
            ;;
    esac
    cat .said
}

# expect_error LINE TEXT types a line that must fail with a text.
expect_error() {
    note "$1"
    refused() {
        if once "$1"; then return 1; fi
        grep -qF -- "$2" .said
    }
    case "$1" in
        "zone verify"*) within refused "$1" "$2" ;;
        *) refused "$1" "$2" ;;
    esac || { cat .said && failed "not refused with: $2"; }
    cat .said
}

# expect_code CODE LINE types a line that must end with an exit code.
expect_code() {
    note "$2"
    once "$2"
    local code=$?
    cat .said
    [ "$code" -eq "$1" ] || failed "exit code $code, not $1"
}
