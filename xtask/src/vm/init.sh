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

. /sections.sh

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

say booted "$(cat /proc/sys/kernel/osrelease)"
. /plan
finish finished
