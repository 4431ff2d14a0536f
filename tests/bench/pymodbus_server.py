"""Baseline: a read-only Modbus TCP server of one block by pymodbus' asyncio server; runs until killed."""

import asyncio
import inspect
import sys

from pymodbus import datastore
from pymodbus.server import StartAsyncTcpServer


def context():
    """Return 39 input registers at 30000 for unit 247, in the words of the pymodbus that is installed."""
    block = datastore.ModbusSequentialDataBlock(30001, [21] * 39)
    kind = getattr(datastore, "ModbusDeviceContext", None) or datastore.ModbusSlaveContext
    device = kind(ir=block)
    names = inspect.signature(datastore.ModbusServerContext).parameters
    return datastore.ModbusServerContext(**{"devices" if "devices" in names else "slaves": {247: device}}, single=False)


if __name__ == "__main__":
    asyncio.run(StartAsyncTcpServer(context(), address=("127.0.0.1", int(sys.argv[1]))))
