#!/usr/bin/env bash
# Makes one more golden repository beside this script: NAME/repository and NAME/manifest.txt.
# Never touches one that is there. Needs root (for a host name of its own), getfattr and setfattr.
#
# usage: make.sh NAME restic PROGRAM FORMAT | make.sh NAME rustic PROGRAM | make.sh NAME packmule PROGRAM
set -euo pipefail

name=$1 kind=$2 program=$(realpath "$(command -v "$3")") format=${4:-2}
here=$(realpath "$(dirname "$0")")

# Keys and snapshots name the machine they were made on.
if [ "${GOLDEN_HOST:-}" != golden ]; then
    GOLDEN_HOST=golden exec unshare --uts "$0" "$@"
fi
hostname golden

export RESTIC_PASSWORD='correct horse battery' RUSTIC_PASSWORD='correct horse battery'
export PACKMULE_PASSWORD='correct horse battery' LC_ALL=C TZ=UTC USER=golden LOGNAME=golden
umask 022

golden=$here/$name source=/srv/golden
[ ! -e "$golden" ] || { echo "$golden is there: golden repositories are never changed" >&2; exit 1; }
[ ! -e "$source" ] || { echo "$source is in the way" >&2; exit 1; }
repository=$golden/repository
mkdir -p "$golden"
HOME=$(mktemp -d)
export HOME
trap 'rm -rf "$HOME" "$source"' EXIT

# Noise of so many bytes: the same for the same word.
noise() {
    { openssl enc -aes-256-ctr -pbkdf2 -pass "pass:$1" -nosalt -in /dev/zero 2>/dev/null || true; } |
        head -c "$2"
}

# A line again and again, so many bytes.
lines() {
    { yes 'all work and no play' || true; } | head -c "$1"
}

# Everything but letters, digits and a few signs as %xx.
quote() {
    local text=$1 quoted='' at sign
    for ((at = 0; at < ${#text}; at++)); do
        sign=${text:at:1}
        case $sign in
            [A-Za-z0-9._/-]) quoted+=$sign ;;
            *) printf -v sign '%%%02x' "$(($(printf '%d' "'$sign") & 255))"; quoted+=$sign ;;
        esac
    done
    printf '%s' "$quoted"
}

first_state() {
    mkdir -p "$source"/deep/er/st "$source"/empty
    cd "$source"
    printf small > small
    : > 'empty file'
    lines 3000 > text
    noise first 2500 > noise
    noise second 700 > deep/er/st/file
    printf x > "$(printf 'not utf-8 \xff\xfe')"
    printf y > "$(printf 'quotes " \x27 \\ \\x41 <&>\n\t\xc2\xa0\xc3\xa9')"
    ln noise deep/hard
    ln -s small link
    ln -s /etc absolute
    ln -s nowhere deep/dangling
    mkfifo -m 0640 pipe
    chmod 0600 small
    chmod 0711 deep/er/st
    chmod 1777 empty
    setfattr -n user.comment -v 0x0062696e617279ff text
    setfattr -n user.empty -v '' deep
    if [ "$format" != 1 ]; then
        # Several chunks of one file, which compression makes nothing of.
        lines 9000000 > long
        truncate -s 1500000 hole
    fi
    # restic learned with 0.16 to keep what is not UTF-8 here.
    case $name in restic-0.14*) ;; *) ln -s "$(printf 'raw \xff')" raw ;; esac
    touch -d '1969-12-20 10:13:19.999999995' text
    touch -d '2021-03-04 05:06:07.123456789' small deep/er/st/file
    touch -d '2150-01-01 00:00:00.000000001' noise
    touch -h -d '2001-02-03 04:05:06.7' link
    touch -d '2019-10-11 12:13:14.151617181' deep/er/st deep/er deep empty
    cd /
}

second_state() {
    cd "$source"
    noise third 900 >> text
    rm small
    mv 'empty file' 'still empty'
    chmod 0700 deep/er/st
    rmdir empty
    noise fourth 300 > empty
    rm link
    mkdir link
    printf new > link/new
    setfattr -x user.comment text
    setfattr -n user.late -v 0x01 noise
    cd /
}

# What a restore must yield, a line an entry: kind, mode, names, time, size, content, path, attributes.
describe() {
    echo "snapshot $1"
    cd "$source"
    find . -mindepth 1 -printf '%P\0' | sort -z | while IFS= read -r -d '' path; do
        read -r mode names time <<< "$(stat -c '%a %h %.9Y' "./$path")"
        size=- content=-
        if [ -L "$path" ]; then
            what=link content=$(quote "$(readlink "$path")")
        elif [ -d "$path" ]; then
            what=folder names=-
        elif [ -p "$path" ]; then
            what=pipe
        else
            what=file size=$(stat -c %s "./$path") content=$(sha256sum < "$path" | cut -d' ' -f1)
        fi
        attributes=$(getfattr -h -d -m '^user\.' -e hex --absolute-names "./$path" 2>/dev/null |
            sed -n 's/^user/ user/p' | sort | tr -d '\n')
        echo "$what $mode $names $time $size $content $(quote "$path")$attributes"
    done
    cd /
}

restic() { "$program" --no-cache --quiet -r "$repository" "$@"; }
rustic() { "$program" --no-cache --no-progress -r "$repository" "$@"; }
packmule() { "$program" repo "$1" -r "$repository" "${@:2}"; }

init() {
    case $kind in
        restic) restic init --repository-version "$format" ;;
        rustic) rustic init --hostname golden --username golden ;;
        packmule) packmule init ;;
    esac
}

backup() {
    "$kind" backup --host golden --tag "$1" "$source"
    describe "$1" >> "$golden/manifest.txt"
}

cd /
init
first_state
if [ "$kind" = restic ]; then
    # Half of a pack is pruned below, so that what was repacked is read as well as what was not.
    noise gone 2000 > "$source/gone"
    restic backup --host golden "$source"
    gone=$(cd "$repository/snapshots" && echo *)
    rm "$source/gone"
fi
backup first
second_state
backup second
touch -d '2022-02-02 02:02:02.222222222' "$source/noise"
backup third
if [ "$kind" = restic ]; then
    restic forget --prune --max-unused 0 "$gone"
fi
# Git keeps no empty folders, and no modes.
find "$repository" -type d -empty -delete
chmod -R u=rwX,go=rX "$repository"
find "$golden" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum " bytes" }'
