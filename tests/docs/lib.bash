# Documents whose console blocks are run. Sourced by those who run them, who define `answer COMMAND`.

# answer_document DOCUMENT FILE: makes DOCUMENT anew as FILE, with what `answer` prints for each command of its console
# blocks, and compares the two: numbers of frames, addresses, slots and processes may differ, and so may times. With
# PINFOLD_WRITE_DOCUMENTS set, the document is written anew instead.
answer_document() {
  local document=$1 anew=$2 in_block=false line
  while IFS= read -r line; do
    case $line in
      '```console') in_block=true && printf '%s\n' "$line" ;;
      '```') in_block=false && printf '%s\n' "$line" ;;
      '$ '*)
        printf '%s\n' "$line"
        ! $in_block || answer "${line#\$ }"
        ;;
      *) $in_block || printf '%s\n' "$line" ;;
    esac
  done <"$document" >"$anew"
  if [ -n "${PINFOLD_WRITE_DOCUMENTS-}" ]; then
    cp "$anew" "$document"
  elif ! diff -u --label "$document" --label "as it is" <(masked "$document") <(masked "$anew"); then
    echo "write it anew: PINFOLD_WRITE_DOCUMENTS=1 $0 ..."
    return 1
  fi
}

masked() { sed -E "${MASK-s/0x[0-9a-f]+/0x…/g; s/slot +[0-9]+/slot …/g}; s/^(demo +)[0-9]+/\1…/; s/ +/ /g; s/ +\$//" "$1"; }
