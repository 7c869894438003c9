# Ordinary programs, at work while another attacks the kernel: each result is checked, and in the end all memory is free.
# They rest for $1 seconds between two rounds.
fail() {
    echo "a victim noticed: $*"
    dmesg | tail -20
    exit 1
}
free() {
    awk '/MemFree/ { print $2 }' /proc/meminfo
}
work() {
    [ "$(seq 1 300 | awk '{ sum += $1 } END { print sum }')" = 45150 ] || fail "a sum through a pipe"
    seq 1 2000 > /tmp/victim.$1 || fail "writing a file"
    sort -rn /tmp/victim.$1 | sort -n | cmp -s - /tmp/victim.$1 || fail "sorting a file"
    [ "$(md5sum < /tmp/victim.$1)" = "ea4d0a24dabcaa11f9aa979b872d162b  -" ] || fail "the content of a file"
    rm /tmp/victim.$1 || fail "removing a file"
}
work first
before=$(free)
rounds=0
until dmesg | grep -q 'init: hostile .* ended'; do
    work one &
    work two
    wait $! || fail "the status of a child"
    rounds=$((rounds + 1))
    sleep "$1"
done
sleep 0.3
after=$(free)
[ $((before - after)) -le 256 ] || fail "$before KiB were free before, $after KiB after"
dmesg | grep 'hostile: '
dmesg | grep -q 'hostile: seed .* exchanges in ' || fail "the attack did not come to its end"
echo "victims: $rounds rounds of work, all results right, all memory free"
