#!/bin/sh
# Makes the certificates of the tests, good for a hundred years. They guard nothing: their keys are public.
# Run it here after a change; it needs openssl. What it makes is in the repository.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/ca.cnf" <<END
[ca]
default_ca = any
[any]
new_certs_dir = $work
database = $work/index
rand_serial = yes
unique_subject = no
default_md = sha256
default_startdate = 20240101000000Z
default_enddate = 21240101000000Z
policy = policy
[policy]
commonName = supplied
organizationName = optional
END
: > "$work/index"

sign() {
  openssl ca -batch -notext -config "$work/ca.cnf" -extfile "$work/extensions" -in "$work/request" \
    -out "$@" 2> "$work/log" || { cat "$work/log"; exit 1; }
}

request() {
  name=$1 subject=$2 algorithm=$3
  openssl genpkey $algorithm -out "$name.key" 2> /dev/null
  openssl req -new -key "$name.key" -subj "$subject" -out "$work/request"
}

ec='-algorithm EC -pkeyopt ec_paramgen_curve:P-256'

# name, common name
authority() {
  request "$1" "/CN=$2" "$ec"
  printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n' > "$work/extensions"
  sign "$1.crt" -selfsign -keyfile "$1.key"
}

# name, authority, subject, subjectAltName or nothing, digest, key
certificate() {
  request "$1" "$3" "${6:-$ec}"
  printf 'basicConstraints=critical,CA:FALSE\n' > "$work/extensions"
  [ -z "$4" ] || printf 'subjectAltName=%s\n' "$4" >> "$work/extensions"
  sign "$1.crt" -md "${5:-sha256}" -cert "$2.crt" -keyfile "$2.key"
}

authority ca 'Ringfence test authority'
authority other-ca 'Somebody else'
certificate server ca /CN=localhost 'DNS:localhost,IP:127.0.0.1'
certificate renewed-server ca /CN=localhost 'DNS:localhost,IP:127.0.0.1' sha384 \
  '-algorithm RSA -pkeyopt rsa_keygen_bits:2048'
certificate elsewhere ca /CN=elsewhere.example 'DNS:elsewhere.example'
certificate stranger-server other-ca /CN=localhost 'DNS:localhost,IP:127.0.0.1'
certificate client-anna ca /O=Ringfence/CN=anna ''
certificate client-mapped ca /O=Ringfence/CN=bert.service 'DNS:bert.service.example'
certificate client-alternative ca /O=Ringfence/CN=somebody 'DNS:anna,email:anna@example.org'
certificate stranger-anna other-ca /CN=anna ''
rm -f other-ca.key
chmod 644 ./*.key
