"""What a guest does to send and receive much by TCP, IPv4 and IPv6, for test_transfers.py and test_rig_transfers.py."""
PIECE = 10  # megabytes that the guest sends again and again

BRIDGED = """ip link set eth0 up mtu 9000; ip address add 10.0.0.2/24 dev eth0; ip -6 address add fd00::2/64 dev eth0
        n=0; while ip -6 address show dev eth0 | grep -q tentative; do
          n=$((n + 1)); [ $n -lt 60 ] || break; sleep 1
        done"""
PASST = """ip link set eth0 up; udhcpc -q -n -t 10 -i eth0 -s /lease
        n=0; until ip -6 address show dev eth0 | grep 'global.*dynamic' | grep -qv tentative; do
          n=$((n + 1)); [ $n -lt 60 ] || break; sleep 1
        done"""


def transfers(kind: str, address: str, address6: str, megabytes: int) -> str:
    """A session that sends `megabytes`, a multiple of PIECE, to port 9000 of both addresses, and gets /blob from port 8000 of both. It
    prints the sums: `own`, `v4` and `v6`.

    What is sent comes from a program whose output is the connection: nc itself writes a kilobyte at a time. It then waits for the
    receiver's answer."""
    assert megabytes % PIECE == 0 < megabytes, f"PINFOLD_TRANSFER_MEGABYTES: not a multiple of {PIECE}"
    return f"""
        {PASST if kind == "passt" else BRIDGED}
        {{
          echo '#!/bin/busybox sh'
          echo 'n=0; while [ $n -lt {megabytes // PIECE} ]; do cat /tmp/piece; n=$((n + 1)); done; read answer'
        }} >/tmp/send
        chmod +x /tmp/send
        head -c {PIECE << 20} /dev/urandom >/tmp/piece
        echo "own $(/tmp/send </dev/null | sha256sum)"
        for at in {address} {address6}; do nc $at 9000 -e /tmp/send; done
        echo "v4 $(wget -q -O - http://{address}:8000/blob | sha256sum)"
        echo "v6 $(wget -q -O - http://[{address6}]:8000/blob | sha256sum)"
    """
