# Stops what a bed started, once the bed's own process is gone, however it went.
#
# The bed holds the other end of our standard input. The kernel closes it when the bed ends: normally, by Ctrl-C, by a
# panic, or by SIGKILL. A child writes its own process ID before it becomes the program (see start.sh) and then looks
# for `ending`; we make `ending` first and look for process IDs afterwards. So no child slips through.
trap '' INT TERM HUP
dir=$1
while read -r _; do :; done
: > "$dir/ending"

# A process ID may have been given to somebody else since: only what carries the bed's mark is ours.
ours() {
    if [ -d /proc/self ]; then
        tr '\0' '\n' < "/proc/$1/environ" | grep -qxF "ONSALE_BED=$dir"
    else
        ps eww -o command= -p "$1" | grep -qF "ONSALE_BED=$dir"
    fi
} 2> /dev/null

for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=
    for file in "$dir"/pids/*; do
        pid=$(cat "$file" 2> /dev/null) || continue
        if ours "$pid"; then
            kill -KILL "$pid" 2> /dev/null
            left=yes
        else
            rm -f "$file"
        fi
    done
    [ -z "$left" ] && exit 0
    sleep 0.1
done
exit 1
