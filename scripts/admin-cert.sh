#!/usr/bin/env bash
# A TEST authority for administrators' certificates, by openssl: FOR DRILLS AND TESTS ONLY. Its private keys lie in the
# open on this disk. Real administrators' certificates come from your own authority, whose keys nobody can copy.
#
#   scripts/admin-cert.sh ca --into DIR
#       makes a root and an intermediate; does nothing where they are already.
#       DIR/root.pem, DIR/intermediate.pem: for Portcullis. DIR/client-ca.pem: both, for nginx (ssl_client_certificate).
#   scripts/admin-cert.sh issue --into DIR --cn NAME [--days 7] [--email ADDRESS] [--uri URI] [--out FILE.pem]
#       issues a client certificate (P-256, clientAuth) for 7 days at most: FILE.pem, FILE.key, and FILE.p12 for browsers,
#       whose password is $P12_PASSWORD, or "drill". Without --out the file is named after its serial number.
#   scripts/admin-cert.sh revoke --into DIR CERT.pem
#       revokes a client certificate, or the intermediate. It is effective once `crl` has run and the lists are fetched.
#   scripts/admin-cert.sh crl --into DIR
#       writes DIR/root.crl and DIR/intermediate.crl (DER), each with a higher number than before, for 24 hours.
set -euo pipefail
umask 077

say() { echo "admin-cert: $*" >&2; }
fail() { say "$*"; exit 1; }
usage() { sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "$0"; }

most_days=7
list_hours=24
folder='' cn='' email='' uri='' out='' certificate='' days=$most_days
command=${1:-}
case $command in
    ca | issue | revoke | crl) shift ;;
    -h | --help | help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
esac
while [ $# -gt 0 ]; do
    case $1 in
        --into) folder=${2:?"--into needs a folder"}; shift 2 ;;
        --cn) cn=${2:?"--cn needs a name"}; shift 2 ;;
        --email) email=${2:?"--email needs an address"}; shift 2 ;;
        --uri) uri=${2:?"--uri needs a URI"}; shift 2 ;;
        --days) days=${2:?"--days needs a number"}; shift 2 ;;
        --out) out=${2:?"--out needs a file"}; shift 2 ;;
        -h | --help) usage; exit 0 ;;
        -*) fail "there is no option $1" ;;
        *) [ -z "$certificate" ] || fail "one certificate at a time"; certificate=$1; shift ;;
    esac
done
[ -n "$folder" ] || fail "--into says where the test authority is"
command -v openssl >/dev/null || fail "openssl is missing: scripts/install openssl"

# A moment in seconds since the epoch, as openssl takes it.
moment() { date -u -d "@$1" +%Y%m%d%H%M%SZ; }

# Runs openssl, and shows what it said only if it failed.
quietly() {
    local said
    said=$(openssl "$@" 2>&1) || fail "openssl $1: $said"
}

new_key() {
    [ -s "$1" ] || quietly genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
    chmod 600 "$1"
}

# The books of one authority, as `openssl ca` keeps them.
new_books() {
    local books=$folder/$1
    mkdir -p "$books/issued"
    [ -e "$books/index.txt" ] || : >"$books/index.txt"
    [ -s "$books/crlnumber" ] || echo 01 >"$books/crlnumber"
    new_key "$books/key.pem"
}

write_settings() {
    cat >"$folder/openssl.cnf" <<SETTINGS
[req]
distinguished_name = nobody
string_mask = utf8only
[nobody]
[root]
$(authority_settings root)
[intermediate]
$(authority_settings intermediate)
[any_name]
commonName = supplied
[list]
authorityKeyIdentifier = keyid
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[authority_below]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
SETTINGS
}

authority_settings() {
    cat <<SETTINGS
database = $folder/$1/index.txt
crlnumber = $folder/$1/crlnumber
new_certs_dir = $folder/$1/issued
certificate = $folder/$1.pem
private_key = $folder/$1/key.pem
default_md = sha256
policy = any_name
rand_serial = yes
unique_subject = no
crl_extensions = list
SETTINGS
}

# Signs a request in the name of an authority, from five minutes ago: clocks differ. Both ends are named, so that the
# lifetime is exact to the second.
sign() {
    local authority=$1 request=$2 certificate=$3 lifetime_days=$4 begin
    shift 4
    begin=$(($(date +%s) - 300))
    quietly ca -batch -notext -utf8 -config "$folder/openssl.cnf" -name "$authority" -in "$request" -out "$certificate.new" \
        -startdate "$(moment "$begin")" -enddate "$(moment $((begin + lifetime_days * 86400)))" "$@"
    chmod 644 "$certificate.new"
    mv "$certificate.new" "$certificate"
}

make_authorities() {
    mkdir -p "$folder"
    chmod 755 "$folder"
    folder=$(cd "$folder" && pwd)
    if [ -s "$folder/client-ca.pem" ]; then
        say "there is a test authority in $folder already"
        return
    fi
    new_books root
    new_books intermediate
    write_settings
    if [ ! -s "$folder/root.pem" ]; then
        quietly req -new -utf8 -config "$folder/openssl.cnf" -key "$folder/root/key.pem" \
            -subj "/CN=Portcullis TEST root" -out "$folder/root/request.pem"
        sign root "$folder/root/request.pem" "$folder/root.pem" 3650 -selfsign -extensions authority
    fi
    if [ ! -s "$folder/intermediate.pem" ]; then
        quietly req -new -utf8 -config "$folder/openssl.cnf" -key "$folder/intermediate/key.pem" \
            -subj "/CN=Portcullis TEST intermediate" -out "$folder/intermediate/request.pem"
        sign root "$folder/intermediate/request.pem" "$folder/intermediate.pem" 1825 -extensions authority_below
    fi
    cat "$folder/root.pem" "$folder/intermediate.pem" >"$folder/client-ca.pem.new"
    chmod 644 "$folder/client-ca.pem.new"
    mv "$folder/client-ca.pem.new" "$folder/client-ca.pem"
    say "a TEST authority is in $folder; its keys protect nothing"
}

open_authorities() {
    [ -s "$folder/client-ca.pem" ] || fail "there is no test authority in $folder: begin with 'ca --into $folder'"
    folder=$(cd "$folder" && pwd)
}

# The subject as `-subj` takes it: its own marks are escaped.
subject() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\//\\\/}
    text=${text//+/\\+}
    printf '/CN=%s' "$text"
}

leaf_extensions() {
    echo "basicConstraints = critical, CA:FALSE"
    echo "keyUsage = critical, digitalSignature"
    echo "extendedKeyUsage = clientAuth"
    echo "authorityKeyIdentifier = keyid"
    [ -n "$email$uri" ] || return 0
    echo "subjectAltName = @names"
    echo "[names]"
    [ -z "$email" ] || echo "email.1 = $email"
    [ -z "$uri" ] || echo "URI.1 = $uri"
}

issue() {
    local scratch base
    [ -n "$cn" ] || fail "--cn says whose certificate it is"
    [[ ! $cn =~ [[:cntrl:]] ]] || fail "--cn is one line of text"
    [[ $days =~ ^[1-9]$ && $days -le $most_days ]] || fail "--days is 1 to $most_days: no administrator's certificate lives longer"
    [[ -z $email || $email =~ ^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$ ]] || fail "--email is one address"
    [[ -z $uri || $uri =~ ^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?@!*+=%-]+$ ]] || fail "--uri is one URI"
    [ -z "$out" ] || [[ $out == *.pem ]] || fail "--out is a file that ends in .pem"
    scratch=$(mktemp -d "$folder/issue.XXXXXX")
    # shellcheck disable=SC2064 # this folder, and not whatever the name means later
    trap "rm -rf '$scratch'" EXIT
    new_key "$scratch/key.pem"
    quietly req -new -utf8 -config "$folder/openssl.cnf" -key "$scratch/key.pem" -subj "$(subject "$cn")" \
        -out "$scratch/request.pem"
    leaf_extensions >"$scratch/extensions.cnf"
    sign intermediate "$scratch/request.pem" "$scratch/certificate.pem" "$days" -extfile "$scratch/extensions.cnf"
    P12_PASSWORD=${P12_PASSWORD:-drill} openssl pkcs12 -export -inkey "$scratch/key.pem" -in "$scratch/certificate.pem" \
        -certfile "$folder/intermediate.pem" -name "$cn" -passout env:P12_PASSWORD -out "$scratch/bundle.p12"
    base=${out%.pem}
    [ -n "$base" ] || base=$folder/$(openssl x509 -in "$scratch/certificate.pem" -noout -serial | cut -d= -f2)
    mkdir -p "$(dirname "$base")"
    mv "$scratch/key.pem" "$base.key"
    mv "$scratch/bundle.p12" "$base.p12"
    mv "$scratch/certificate.pem" "$base.pem"
    say "a TEST certificate, days: $days: $base.pem, its key $base.key, for browsers $base.p12"
    echo "$base.pem"
}

# Whoever issued a certificate revokes it.
revoke() {
    local authority=intermediate serial
    [ -s "$certificate" ] || fail "revoke needs a certificate's file"
    if cmp -s <(openssl x509 -in "$certificate" -outform DER) <(openssl x509 -in "$folder/intermediate.pem" -outform DER); then
        authority=root
    fi
    serial=$(openssl x509 -in "$certificate" -noout -serial | cut -d= -f2)
    if awk -F '\t' -v serial="$serial" '$1 == "R" && $4 == serial { found = 1 } END { exit !found }' \
        "$folder/$authority/index.txt"; then
        say "$serial was revoked before"
        return
    fi
    openssl verify -partial_chain -no_check_time -trusted "$folder/$authority.pem" "$certificate" >/dev/null 2>&1 ||
        fail "$certificate was not issued by the test authority in $folder"
    quietly ca -batch -config "$folder/openssl.cnf" -name "$authority" -revoke "$certificate"
    say "$serial is revoked; 'crl --into $folder' tells the world"
}

write_lists() {
    local authority
    for authority in root intermediate; do
        quietly ca -batch -config "$folder/openssl.cnf" -name "$authority" -gencrl -crlhours "$list_hours" \
            -out "$folder/$authority/list.pem"
        quietly crl -in "$folder/$authority/list.pem" -outform DER -out "$folder/$authority.crl.new"
        chmod 644 "$folder/$authority.crl.new"
        mv "$folder/$authority.crl.new" "$folder/$authority.crl"
        say "$folder/$authority.crl: $(openssl crl -inform DER -in "$folder/$authority.crl" -noout -crlnumber)"
    done
}

case $command in
    ca) make_authorities ;;
    issue) open_authorities; issue ;;
    revoke) open_authorities; revoke ;;
    crl) open_authorities; write_lists ;;
esac
