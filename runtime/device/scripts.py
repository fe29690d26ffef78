"""What runs on a board: fixed programs for its `sh`; everything that varies comes as arguments.

They need a POSIX shell, coreutils' or BusyBox's or Toybox's `sha256sum` and `flock`, no Python.
`$1` is the directory on the board. Messages are in English, whatever the board's language: some are
looked for.
"""

BUSY = 75  # exit codes of our own, beside those of the programs that the scripts call
GARBLED = 76
LACKING = 77
DENIED = 79  # 78 is adb's

# Hold the board until stdin ends, however that happens; then leave nothing of the run behind.
# Arguments: directory, token of this holder, who we are in words, keep (1) or remove (0) the files.
# A holder of the same token is this very run, before its connection broke: it is ended.
LEASE = r"""
export LC_ALL=C; umask 077; dir=$1
for tool in sha256sum flock; do
  command -v $tool >/dev/null || { echo "no $tool on the board"; exit 77; }
done
mkdir -p "$dir" || exit 1
exec 3<&0 9>>"$dir/lock"
tries=0
until flock -n 9; do
  read -r token pid words <"$dir/owner"
  if [ "$token" = "$2" ]; then kill "$pid"; else echo "$words"; exit 75; fi
  tries=$((tries + 1)); [ $tries -gt 10 ] && exit 75
  sleep 1
done
leave() {
  kill $reader 2>/dev/null
  [ -f "$dir/running" ] && kill -9 $(cat "$dir/running") 2>/dev/null
  rm -f "$dir/owner" "$dir/running" "$dir/admitted" "$dir"/part.*
  [ "$4" = 1 ] || rm -rf "$dir"
}
trap 'leave "$@"' EXIT
rm -f "$dir/admitted"
trap 'exit 1' HUP INT TERM
echo "$2 $$ $3" | cat >"$dir/owner" || exit 1  # cat says "No space left", some shells do not
find "$dir" -type f -name '????????????????????????????????????????????????????????????????' \
  -mtime +30 -exec rm -f {} +
cat <&3 >/dev/null 9>&- & reader=$!
echo held
wait $reader
"""

# Arguments: directory, hash. Succeeds when an undamaged file of that hash is there.
HAVE = r"""
export LC_ALL=C; cd "$1" 2>/dev/null || exit 1
[ -f "$2" ] || exit 1
real=$(sha256sum <"$2") && [ "${real%% *}" = "$2" ] && touch "$2" && exit 0
rm -f "$2"; exit 1
"""

# Arguments: directory, hash. The content is on stdin; a cut connection ends it early.
PUT = r"""
export LC_ALL=C; umask 077; part="$1/part.$$"
trap 'rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$part" || exit 1
real=$(sha256sum <"$part") || exit 1
[ "${real%% *}" = "$2" ] || { echo "${real%% *} arrived" >&2; exit 76; }
chmod 700 "$part" && mv "$part" "$1/$2"
"""

# The board's own policy: with a file of allowed signers below its /etc, RUN starts executables of
# bundles alone that these have signed, as ADMIT finds. Whoever has a shell there can go around all
# scripts; this keeps those who use EdgeKiln from running what the board's owner did not allow.

# Also where it may not be looked at: then nothing is allowed.
_DEMANDED = r"""
demanded() {
  [ -e "$1" ] || [ -L "$1" ] && return 0
  home=${1%/*}; { [ -e "$home" ] || [ -L "$home" ]; } && ! [ -x "$home/." ]
}
"""

# Arguments: directory, where / is. Succeeds when there is such a policy.
DEMANDS = f"""{_DEMANDED}
demanded "$2/etc/edgekiln/allowed_signers"
"""

# Arguments: directory, where / is, hashes of the bundle, of its signature and of its executable,
# the executable's name in the bundle, what the signature is for.
ADMIT = r"""
export LC_ALL=C; umask 077; dir=$1; policy=$2/etc/edgekiln/allowed_signers
for tool in ssh-keygen tar; do
  command -v $tool >/dev/null || { echo "no $tool on the board" >&2; exit 77; }
done
[ -r "$policy" ] || { echo "its $policy cannot be read" >&2; exit 79; }
one="$dir/part.$$"; trap 'rm -f "$one"' EXIT
signed() {
  name=$(ssh-keygen -Y find-principals -f "$1" -s "$dir/$4" 2>/dev/null </dev/null |
    sed 's/,.*//;q')
  [ -n "$name" ] || return 2
  ssh-keygen -Y verify -n "$7" -f "$1" -I "$name" -s "$dir/$4" <"$dir/$3" >/dev/null 2>&1
}
shift; set -- "$policy" "$@"
signed "$@"; found=$?
if [ $found != 0 ] && [ $found != 2 ]; then  # the key may stand on a further line, for bundles
  while IFS= read -r line; do
    printf '%s\n' "$line" >"$one"; shift; set -- "$one" "$@"
    signed "$@" && found=0
  done <"$policy"
fi
[ $found != 2 ] || { echo "signed by somebody else" >&2; exit 79; }
[ $found = 0 ] || { echo "changed after it was signed" >&2; exit 79; }
real=$(tar -xOf "$dir/$3" "$6" 2>/dev/null | sha256sum)
[ "${real%% *}" = "$5" ] || { echo "its $6 is another one" >&2; exit 79; }
echo "$5" >>"$dir/admitted"
"""

# Arguments: directory, where / is, then the command. LEASE ends it when the connection does.
RUN = (
    _DEMANDED
    + r"""
running="$1/running"; admitted="$1/admitted"; policy=$2/etc/edgekiln/allowed_signers; shift 2
if demanded "$policy"; then
  real=$(sha256sum <"$1") && grep -qx "${real%% *}" "$admitted" 2>/dev/null ||
    { echo "the board runs only what those of its $policy have signed" >&2; exit 79; }
fi
"$@" & echo $! >"$running"
wait $!; code=$?
rm -f "$running"; exit $code
"""
)

# Arguments: directory, where / is, then patterns of files below it. Prints `records`.
LOOK = r"""
cd "$2" || exit 1; shift 2
printf '\036architecture\037'; uname -m
for pattern; do
  for file in $pattern; do
    [ -f "$file" ] && [ -r "$file" ] && { printf '\036%s\037' "$file"; cat "$file" 2>/dev/null; }
  done
done
exit 0
"""

# The first lines of files, every so often, until nobody reads any more; what vcgencmd says is one
# of them. Arguments: directory, where / is, seconds, then patterns. Prints `records`, in rounds. No
# process is started besides that program and the pause: this runs beside what is measured.
FOLLOW = r"""
export LC_ALL=C; cd "$2" || exit 1; period=$3; shift 3
copy() {
  for pattern; do
    for file in $pattern; do
      if [ "$file" = usr/bin/vcgencmd ]; then
        [ -x "$file" ] && printf '\036%s.said\037%s' "$file" "$("$file" pmic_read_adc 2>&1)"
      elif [ -f "$file" ] && [ -r "$file" ]; then
        line=; read -r line 2>/dev/null <"$file"
        printf '\036%s\037%s' "$file" "$line"
      fi
    done
  done
  printf '\035\n'
}
while copy "$@"; do sleep "$period"; done 2>/dev/null
"""
