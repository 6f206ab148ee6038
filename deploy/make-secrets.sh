#!/bin/sh
# sh deploy/make-secrets.sh [FOLDER]
#
# Makes the secrets that docker-compose.yml and compose.single.yml mount: random ones, into deploy/secrets. What is there
# stays as it is, so that running it twice changes nothing.
set -eu
folder=${1:-$(dirname "$0")/secrets}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -s "$folder/$1" ] || printf '%s\n' "$2" >"$folder/$1"; }

# The folder keeps others out. The files are for users of containers, whoever those are outside.
mkdir -p "$folder"
chmod 0700 "$folder"
umask 022
keep .gitignore '*'
keep admin_password "$(random)"
keep s3_secret_access_key "$(random)"
keep postgres_password "$(random)"
keep database_url "postgres://berth:$(cat "$folder/postgres_password")@postgres:5432/berth"
echo "The secrets are in $folder. The administrator is \"admin\", the password in $folder/admin_password."
