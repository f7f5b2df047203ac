#!/bin/busybox sh
# Writes numbered records to the file system on the first disk. The second disk takes a promise after each: that it stays.
set -e
echo "the writer begins"
mount -t ext4 /dev/vda /mnt
mkdir /mnt/records
number=0
while [ "$number" -lt "$RECORDS" ]; do
    number=$((number + 1))
    # Nobody is promised this: it is what a power cut may take.
    dd if=/dev/urandom of=/mnt/noise bs=4k count=4 seek=$((number * 4)) conv=notrunc oflag=direct status=none
    yes "record $number" | dd of=/mnt/records/new bs="$RECORD_BYTES" count=1 iflag=fullblock conv=fsync status=none
    mv /mnt/records/new "/mnt/records/$number"
    sync /mnt/records
    # A whole page, or dd would leave it in memory.
    yes "promise $number" | dd of=/dev/vdb bs=4k seek="$number" count=1 iflag=fullblock oflag=direct status=none
done
echo "all records are promised"
