"""Baseline: the router script of the S3 source, rebuilt: five single reads and five POSTs a second, stdlib only."""

import json
import socket
import struct
import sys
import time
import urllib.request

REGISTERS = ((30035, 2, 200, 1), (30014, 1, 201, 0.1), (30037, 2, 202, 1), (30005, 2, 203, -1), (30284, 2, 204, 1))


def read(connection, transaction, address, count):
    connection.sendall(struct.pack(">HHHBBHH", transaction, 0, 6, 247, 4, address, count))
    head = connection.recv(9)
    body = connection.recv(2 * count)
    assert head[7] == 4
    return struct.unpack(">i" if count == 2 else ">H", body)[0]


def main(plant, shelly, cycles):
    host, port = plant.split(":")
    connection = socket.create_connection((host, int(port)), 2)
    start = time.monotonic()
    for cycle in range(cycles):
        for number, (address, count, component, factor) in enumerate(REGISTERS):
            value = round(read(connection, number, address, count) * factor, 1)
            body = json.dumps({"id": component, "value": value}).encode()
            request = urllib.request.Request(f"http://{shelly}/rpc/Number.Set", body, {"Content-Type": "application/json"})
            urllib.request.urlopen(request, timeout=2).read()
        time.sleep(max(0, start + cycle + 1 - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
