"""Baseline: the same five reads and five POSTs a second with pymodbus and requests."""

import inspect
import sys
import time

import requests
from pymodbus.client import ModbusTcpClient

REGISTERS = ((30035, 2, 200, 1), (30014, 1, 201, 0.1), (30037, 2, 202, 1), (30005, 2, 203, -1), (30284, 2, 204, 1))


def main(plant, shelly, cycles):
    host, port = plant.split(":")
    client = ModbusTcpClient(host, port=int(port), timeout=0.8, retries=0)
    client.connect()
    names = inspect.signature(client.read_input_registers).parameters
    unit = {"device_id" if "device_id" in names else "slave": 247}
    start = time.monotonic()
    for cycle in range(cycles):
        for address, count, component, factor in REGISTERS:
            words = client.read_input_registers(address, count=count, **unit).registers
            raw = words[0] if count == 1 else (words[0] << 16 | words[1])
            raw = raw - (1 << 32) if count == 2 and raw >> 31 else raw
            requests.post(f"http://{shelly}/rpc/Number.Set", json={"id": component, "value": round(raw * factor, 1)},
                          timeout=2)
        time.sleep(max(0, start + cycle + 1 - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
