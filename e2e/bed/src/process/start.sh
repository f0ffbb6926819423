# Becomes a program of the bed, after writing the process ID where keeper.sh looks for it.
dir=$1 name=$2
shift 2
echo "$$" > "$dir/pids/$name.new"
mv "$dir/pids/$name.new" "$dir/pids/$name"
[ -e "$dir/ending" ] && exit 143
exec "$@"
