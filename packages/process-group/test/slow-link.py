"""Links between network namespaces that are slow and lose packets: netem, where the kernel has none.

    slow-link.py DELAY LOSS MBIT NAMESPACE ADDRESS NAMESPACE ADDRESS ...    ms, a share of 1, and 0 for any speed

Each namespace gets a TUN device: packets that are sent into it come out here, as reads of a file, and what is written
into another one's arrives there. A packet waits until those before it from its host are sent, then for the delay.
Prints 'ready', and forwards until its stdin is closed; the devices go with it.
"""

import collections
import fcntl
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000  # whole IP packets, nothing before them


def open_tun(name: str, namespace: str, address: str) -> int:
    """A TUN device in the namespace, with an address of a /24 and packets of 1500 bytes."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "netns", namespace], check=True)
    for words in (["address", "add", f"{address}/24", "dev", name], ["link", "set", name, "txqueuelen", "10000", "up"]):
        subprocess.run(["ip", "-n", namespace, *words], check=True)
    return device


def forward(ends: dict[bytes, int], delay: float, loss: float, seconds_per_byte: float) -> None:
    """`ends`: the device of each address. Bytes 16 to 20 of an IP packet are where it goes."""
    chance = random.Random(1)
    sent_by = dict.fromkeys(ends.values(), 0.0)  # when each host's last packet has left
    under_way = {end: collections.deque() for end in ends.values()}  # packets from it, and when they arrive
    while True:
        due = [queue[0][0] for queue in under_way.values() if queue]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        readable = select.select([sys.stdin, *ends.values()], [], [], wait)[0]
        if sys.stdin in readable:
            return
        for end in readable:
            packet = os.read(end, 65536)
            sent_by[end] = max(sent_by[end], time.monotonic()) + len(packet) * seconds_per_byte
            if packet[16:20] in ends and chance.random() >= loss:
                under_way[end].append((sent_by[end] + delay, packet))
        for queue in under_way.values():
            while queue and queue[0][0] <= time.monotonic():
                packet = queue.popleft()[1]
                os.write(ends[packet[16:20]], packet)


delay_ms, loss_share, mbit = map(float, sys.argv[1:4])
hosts = list(zip(sys.argv[4::2], sys.argv[5::2]))
tuns = {socket.inet_aton(address): open_tun(f"slow{i}", name, address) for i, (name, address) in enumerate(hosts)}
print("ready", flush=True)
forward(tuns, delay_ms / 1000, loss_share, 8e-6 / mbit if mbit else 0.0)
