# A PostgreSQL of its own, for tests and measurements: $1 is the folder of its programs, the rest are
# settings of the server. Prints its folder, where its socket is, once it answers; leaves nothing.
# PostgreSQL refuses to run as root, and a folder it is to use has to be its own.
bin=$1
shift
dir=$(mktemp -d "${TMPDIR:-/tmp}/damwall-postgres-XXXXXX") || exit 1
"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >&2 || exit 1
server=
trap '[ -z "$server" ] || kill -INT "$server"' INT TERM
"$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= "$@" >&2 &
server=$!
until "$bin/pg_isready" -q -h "$dir"; do kill -0 "$server" || exit 1; sleep 0.1; done
echo "$dir"
wait "$server"
wait "$server"
rm -rf "$dir"
