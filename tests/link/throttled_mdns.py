"""Many Shellys that announce themselves by real multicast on the loopback, through a network that lets little pass."""

from __future__ import annotations

import select
import socket
import struct
import threading

import zeroconf
from zeroconf import const

GROUP, PORT = "224.0.0.251", 5353
SHELLY = "_shelly._tcp.local."
PER_PACKET = 8


class ThrottledMdns:
    """Answers each question for ``most`` devices that the asker does not know yet, and loses the others."""

    def __init__(self, hosts, most, named=True):
        self.hosts, self.most, self.named = list(hosts), most, named
        self.questions = 0
        self._asked = False
        self.answered = []
        self._told = set()  # known answers of a question that came in several packets
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("", PORT))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                                struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1")))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while not self._over.is_set():
            if select.select([self._socket], [], [], 0.05)[0]:
                message = zeroconf.DNSIncoming(self._socket.recv(65_536))
                if message.is_query():
                    self._hear(message)

    def _hear(self, message):
        self._asked = self._asked or any(question.name == SHELLY for question in message.questions)
        self._told |= {answer.alias for answer in message.answers() if isinstance(answer, zeroconf.DNSPointer)}
        if message.flags & const._FLAGS_TC:
            return  # more known answers follow
        asked, told, self._asked, self._told = self._asked, self._told, False, set()
        if asked:
            self.questions += 1
            unknown = [number for number in range(len(self.hosts)) if self._instance(number) not in told]
            self._answer(unknown[:self.most])

    def _instance(self, number):
        return f"shellypro2-0000000000{number:02x}.{SHELLY}"

    def _answer(self, numbers):
        self.answered.append(len(numbers))
        for start in range(0, len(numbers), PER_PACKET):
            reply = zeroconf.DNSOutgoing(const._FLAGS_QR_RESPONSE | const._FLAGS_AA)
            for number in numbers[start:start + PER_PACKET]:
                for instance in (self._instance(number), f"Panel {number:03}.{SHELLY}")[:2 if self.named else 1]:
                    self._records(reply, instance, self.hosts[number], f"shelly-{number}.local.")
            for packet in reply.packets():
                self._socket.sendto(packet, (GROUP, PORT))

    @staticmethod
    def _records(reply, instance, host, server):
        inside, ttl = const._CLASS_IN, 120
        text = b"".join(bytes([len(pair)]) + pair for pair in (b"gen=2", b"app=Pro2", b"ver=1.7.5"))
        for record in (
            zeroconf.DNSPointer(SHELLY, const._TYPE_PTR, inside, ttl, instance),
            zeroconf.DNSService(instance, const._TYPE_SRV, inside | const._CLASS_UNIQUE, ttl, 0, 0, 80, server),
            zeroconf.DNSText(instance, const._TYPE_TXT, inside | const._CLASS_UNIQUE, ttl, text),
            zeroconf.DNSAddress(server, const._TYPE_A, inside | const._CLASS_UNIQUE, ttl, socket.inet_aton(host)),
        ):
            reply.add_answer_at_time(record, 0)
