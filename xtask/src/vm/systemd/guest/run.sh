#!/bin/busybox sh
# What the guest's service does: it runs what the plan says, and tells on the second serial port, where
# no message of the kernel can come in between.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/var/tmp
busybox stty -F /dev/ttyS1 raw
exec </dev/null >/dev/ttyS1 2>&1

poweroff() {
    busybox poweroff "$@"
}
sleep() {
    busybox sleep "$@"
}
. /limitscope/sections.sh

say booted "$(busybox cat /proc/sys/kernel/osrelease)"
[ "$(busybox cat /proc/1/comm)" = systemd ] || finish broken "the first process is not systemd"
. /limitscope/plan
finish finished
