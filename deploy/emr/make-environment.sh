#!/bin/sh
# The Python environment of a YARN run as one archive that works wherever it is unpacked.
#
#   deploy/emr/make-environment.sh OUT.tar.gz [REQUIREMENT ...]
#
# Run it on the nodes' own kind of machine (Amazon Linux 2023, same processor family): compiled wheels are of that kind.
# Default requirement: this checkout with the extras tls and yarn, at the versions of requirements.lock. Python itself
# is not in the archive: the bootstrap action puts the same one at the same path on every node.
set -eu
out=${1:?usage: make-environment.sh OUT.tar.gz [REQUIREMENT ...]}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3.11}
[ $# -gt 0 ] || set -- "$root[tls,yarn]"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
"$python" -m venv "$work/environment"
"$work/environment/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$root/requirements.lock" "$@"
"$work/environment/bin/python" -m pip check

cd "$work/environment"
# Commands name the folder that they were installed in: let them find the Python beside them instead.
for file in bin/*; do
    [ -f "$file" ] || continue
    if head -c 2 "$file" | grep -q '#!' && head -n 1 "$file" | grep -q "$work"; then
        {
            echo '#!/bin/sh'
            echo "'''exec' \"\$(dirname \"\$(readlink -f \"\$0\")\")/python\" \"\$0\" \"\$@\""
            echo "' '''"
            tail -n +2 "$file"
        } >"$work/script"
        cat "$work/script" >"$file"
    fi
done
rm -f bin/activate* bin/Activate.ps1
sed -i '/^command/d' pyvenv.cfg
cd - >/dev/null
# Libraries are large and hardly compressible further: the fastest setting, or this takes minutes.
tar -I 'gzip -1' -cf "$out" -C "$work/environment" .
echo "$out: $(du -h "$out" | cut -f1), for nodes with $(readlink -f "$work/environment/bin/python")"
