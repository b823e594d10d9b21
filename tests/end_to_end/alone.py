"""Runs a command alone: in a network of its own that leads nowhere, where whatever it asks for or connects to is seen.

``python alone.py REPORT.json SECONDS COMMAND...``, as root of a new network and mount namespace
(``unshare --net --mount``). There is only the loopback interface. Every address of the world leads to it and no
further, so that a connection to one leaves a packet which is seen here; names are asked of a server that stands here,
notes them and answers with an address nobody has (192.0.2.1). No socket of the host's name services is reached.
The report: exit code, output, names that were asked for, and addresses that were called.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

NOBODY = "192.0.2.1"  # RFC 5737: for documentation
_EVERYTHING = 0x0003  # ETH_P_ALL
_TCP, _UDP = 6, 17
_NAMES_PORT = 53


def main(report: Path, seconds: float, command: list[str]) -> None:
    lead_nowhere()
    queries: list[str] = []
    packets = listening_to_packets()
    names = bound_to_names()
    threading.Thread(target=answer_names, args=(names, queries), daemon=True).start()
    called: dict[str, None] = {}
    threading.Thread(target=note_packets, args=(packets, called), daemon=True).start()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
    answer = {"code": done.returncode, "said": done.stdout + done.stderr, "names": queries, "called": list(called)}
    report.write_text(json.dumps(answer), encoding="utf-8")


def lead_nowhere() -> None:
    """Loopback is up, every address is local, and names are asked of 127.0.0.1 alone."""
    run("mount", "--make-rprivate", "/")
    run("ip", "link", "set", "lo", "up")
    run("ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo")
    subprocess.run(["ip", "-6", "route", "add", "local", "::/0", "dev", "lo"], capture_output=True, check=False)
    for path, text in (
        ("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
        ("/etc/nsswitch.conf", "hosts: files dns\npasswd: files\ngroup: files\n"),
    ):
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        run("mount", "--bind", file.name, os.path.realpath(path))
        os.unlink(file.name)  # the mount holds it


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def bound_to_names() -> socket.socket:
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", _NAMES_PORT))
    return names


def answer_names(names: socket.socket, queries: list[str]) -> None:
    while True:
        question, sender = names.recvfrom(4096)
        name, kind, end = asked(question)
        queries.append(name)
        head = question[:2] + b"\x81\x80\0\1" + struct.pack(">H", kind == 1) + b"\0\0\0\0"
        address = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(NOBODY) if kind == 1 else b""
        names.sendto(head + question[12:end] + address, sender)


def asked(question: bytes) -> tuple[str, int, int]:
    """The name of a DNS query, its kind (1: an IPv4 address), and where the question ends."""
    labels, place = [], 12
    while (length := question[place]) > 0:
        labels.append(question[place + 1 : place + 1 + length].decode("ascii", "replace"))
        place += 1 + length
    return ".".join(labels), int.from_bytes(question[place + 1 : place + 3], "big"), place + 5


def listening_to_packets() -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERYTHING))
    packets.bind(("lo", _EVERYTHING))
    return packets


def note_packets(packets: socket.socket, called: dict[str, None]) -> None:
    while True:
        if target := target_of(packets.recv(65535)):
            called[target] = None


def target_of(packet: bytes) -> str:
    """Address and port that a packet goes to; nothing for those of loopback and of the kernel itself."""
    if packet[0] >> 4 == 4:
        protocol, address, body = packet[9], ipaddress.ip_address(packet[16:20]), (packet[0] & 15) * 4
    else:
        protocol, address, body = packet[6], ipaddress.ip_address(packet[24:40]), 40
    if protocol not in (_TCP, _UDP) or address.is_loopback:
        return ""
    return f"{address} port {int.from_bytes(packet[body + 2 : body + 4], 'big')}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
