# How a guest tells what it does: functions for the script that does it, on whose output the host
# listens.

say() {
    read -r up _ </proc/uptime
    echo "@@ $up $*"
}

# The end, which the host sees even where it is not the planned one.
finish() {
    say "$@"
    sync
    sleep 0.2
    poweroff -f
}

# section PASS NAME COMMAND…
section() {
    pass=$1 name=$2
    shift 2
    say begin "$pass" "$name"
    "$@"
    code=$?
    # A line of its own, whatever was written last.
    echo
    say end "$pass" "$name" "$code"
}
