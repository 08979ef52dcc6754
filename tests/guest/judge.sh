# shellcheck shell=dash disable=SC2317
# Runs and judges guest tests on a machine that has only a small shell. tests/harness/guest_test.py writes a program for a list of
# tests: this file, then for each test lines like these, then `summary`.
#   run NAME EXIT COMMAND...   run it for at most $limit seconds. It has to exit with EXIT and may not print FAILED
#   says PATTERN               a line of its output has to match
#   logs_nothing               the monitor may not have logged anything above debug level
#   leaves_at_most COUNT       --stats may not report more exits
#   verdict                    print a line, and the output if the test failed
# summary prints which tests took longest, and how many tests passed. It fails if any test failed.
limit=400 failures=0 count=0
said=${TMPDIR:-/tmp}/said times=

run() {
  name=$1 wanted=$2 why=
  shift 2
  status=0 began=$(date +%s)
  timeout "$limit" "$@" </dev/null >"$said" 2>&1 || status=$?
  [ "$status" = "$wanted" ] || complain "exit code $status, not $wanted"
  times="$times$(($(date +%s) - began)) s  $name
"
  ! grep -q FAILED "$said" || complain "a check of the guest's failed"
}
complain() { why="$why; $1"; }

says() { tr -d '\r' <"$said" | grep -Eq -- "$1" || complain "no match: $1"; }

logs_nothing() { ! grep -Eq '\[(info|warning|error|critical)\]' "$said" || complain "the monitor wrote into its log"; }

leaves_at_most() {
  exits=$(sed -n '/^exits/,/^  total/s/^  total *//p' "$said")
  [ "${exits:-$(($1 + 1))}" -le "$1" ] || complain "${exits:-no count of} exits, where $1 are allowed"
}

verdict() {
  count=$((count + 1))
  if [ -z "$why" ]; then
    echo "ok      $name"
  else
    failures=$((failures + 1))
    echo "FAILED  $name: ${why#; }"
    cat "$said"
  fi
}

summary() {
  printf '%s' "$times" | sort -nr | head -n 12 | sed 's/^/took    /'
  echo "$((count - failures)) of $count guests"
  [ "$failures" = 0 ]
}
