#!/bin/bash
# A runner in plain shell, with nothing but redis-cli: the list protocol of docs/protocol.md. Its jobs are shell scripts.
#
#   herosup runner add shell --start -- /bin/bash /path/to/list-runner.sh
set -u
case $HERO_REDIS_URL in
    unix://*)
        path=${HERO_REDIS_URL#unix://}
        if [[ $path == *@* ]]; then # a password, as the private Redis has one
            password=${path%%@*} path=${path#*@}
            export REDISCLI_AUTH=${password#*:}
        fi
        redis=(redis-cli -e --raw -s "${path%%\?*}")
        ;;
    *) redis=(redis-cli -e --raw --no-auth-warning -u "$HERO_REDIS_URL") ;;
esac

call() { # until Redis has answered; each of our calls may be repeated
    until "${redis[@]}" "$@" 2>/dev/null; do sleep 0.2; done
}

while true; do
    id=$(call BLPOP "$HERO_QUEUE" 5 | tail -n 1)
    [[ -n $id ]] || continue
    job=$HERO_NAMESPACE:job:$id
    call HSET "$job" status started >/dev/null
    payload=$(call HGET "$job" payload)
    timeout_s=$(call HGET "$job" timeout)
    if [[ $payload == ping ]]; then
        call HSET "$job" status finished output pong >/dev/null
    elif output=$(HERO_JOB_ID=$id timeout "${timeout_s:-300}" /bin/sh -c "$payload" </dev/null); then
        call HSET "$job" status finished output "$output" >/dev/null
    else
        call HSET "$job" status error error "it ended with exit status $?" >/dev/null
    fi
done
