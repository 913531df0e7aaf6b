#!/bin/busybox sh
# The first process of a guest of the kernel matrix: sets the machine up, runs what /plan says, and
# tells on the second serial port, where no message of the kernel can come in between.
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/ TMPDIR=/tmp
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
stty -F /dev/ttyS1 raw
exec </dev/null >/dev/ttyS1 2>&1
hostname guest
ip link set lo up

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

cgroup_v2() {
    mount -t cgroup2 cgroup2 /sys/fs/cgroup || finish broken "cgroup v2 cannot be mounted"
}

cgroup_v1() {
    mount -t tmpfs cgroup /sys/fs/cgroup
    for controllers in cpu,cpuacct memory pids cpuset; do
        mkdir "/sys/fs/cgroup/$controllers"
        mount -t cgroup -o "$controllers" "$controllers" "/sys/fs/cgroup/$controllers" ||
            finish broken "cgroup v1 with $controllers cannot be mounted"
    done
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

say booted "$(cat /proc/sys/kernel/osrelease)"
. /plan
finish finished
