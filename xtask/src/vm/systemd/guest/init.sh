#!/bin/busybox sh
# The first process of the guest with systemd: finds the disk, puts onto it what is made anew for each
# run, and gives its place to systemd.
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
while read -r module; do
    $busybox insmod "/modules/$module.ko" || echo "the module $module cannot be loaded"
done </order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 200 ]; do
    $busybox sleep 0.05
    tries=$((tries + 1))
done
if ! $busybox mount -t ext4 -o noatime /dev/vda /disk; then
    echo "the disk cannot be mounted"
    $busybox poweroff -f
fi
$busybox cp -a /files/. /disk/
$busybox mount --move /dev /disk/dev
$busybox umount /proc
exec $busybox switch_root /disk /sbin/init
