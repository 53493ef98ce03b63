#!/bin/sh
# TLS files of one Dask cluster: a CA of its own, one certificate for scheduler and workers, one for the client.
# Whoever holds a certificate of this CA can run code on the cluster: keep the folder private, make a new one per
# cluster. The CA's key is deleted, so that nobody can sign another.
#
#   deploy/make-tls.sh FOLDER [DAYS]        writes ca.pem cluster.pem cluster.key client.pem client.key
set -eu
folder=${1:?usage: make-tls.sh FOLDER [DAYS]}
days=${2:-30}
umask 077
mkdir -p "$folder"
cd "$folder"
for file in ca.pem cluster.pem cluster.key client.pem client.key; do
    if [ -e "$file" ]; then
        echo "$folder/$file exists: choose a new folder" >&2
        exit 1
    fi
done
trap 'rm -f ca.key ca.srl request.csr' EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$days" \
    -subj "/CN=lensflow Dask cluster CA" -addext "keyUsage=critical,keyCertSign" \
    -keyout ca.key -out ca.pem 2>/dev/null
for role in cluster client; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=lensflow $role" \
        -keyout "$role.key" -out request.csr 2>/dev/null
    openssl x509 -req -in request.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days "$days" -out "$role.pem" 2>/dev/null
done
echo "$folder: valid for $days days"
