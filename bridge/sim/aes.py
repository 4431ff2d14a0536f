"""AES-128 in reverse, in plain Python: how the simulated service reads the password that a client sent.

Never used by the program itself, which encodes with a library: two implementations that share nothing check
each other. Facts: FIPS 197 (cipher), RFC 5652 6.3 (padding).
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

BLOCK_BYTES, ROUNDS, POLYNOMIAL = 16, 10, 0x11B


def times(a: int, b: int) -> int:
    """Multiply in the field GF(2^8) of FIPS 197 4.2."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= POLYNOMIAL
        b >>= 1
    return product


def substitution() -> Tuple[int, ...]:
    """Return the S-box: the inverse in the field, then the affine map (FIPS 197 5.1.1)."""
    boxed = []
    for value in range(256):
        inverse = next((one for one in range(1, 256) if times(value, one) == 1), 0) if value else 0
        turned = inverse
        for shift in range(1, 5):
            turned ^= (inverse << shift | inverse >> (8 - shift)) & 0xFF
        boxed.append(turned ^ 0x63)
    return tuple(boxed)


class Aes128:
    """One key; the tables are computed once, which takes some tens of milliseconds."""

    def __init__(self, key: bytes) -> None:
        self._box = substitution()
        self._back = tuple(self._box.index(value) for value in range(256))
        self._by = {factor: tuple(times(value, factor) for value in range(256)) for factor in (9, 11, 13, 14)}
        self._keys = self._expand(key)

    def decrypt_cbc(self, content: bytes, start: bytes) -> bytes:
        """Return the text behind ``content``; raises ValueError unless length and PKCS#7 padding are right."""
        if not content or len(content) % BLOCK_BYTES:
            raise ValueError("not whole blocks")
        plain, before = b"", start
        for at in range(0, len(content), BLOCK_BYTES):
            block = content[at:at + BLOCK_BYTES]
            plain += bytes(a ^ b for a, b in zip(self._block(block), before))
            before = block
        padding = plain[-1]
        if not 1 <= padding <= BLOCK_BYTES or plain[-padding:] != bytes([padding]) * padding:
            raise ValueError("the padding is wrong")
        return plain[:-padding]

    def _expand(self, key: bytes) -> List[bytes]:
        words = [key[at:at + 4] for at in range(0, BLOCK_BYTES, 4)]
        constant = 1
        for at in range(4, 4 * (ROUNDS + 1)):
            word = words[-1]
            if at % 4 == 0:
                word = bytes(self._box[one] for one in word[1:] + word[:1])
                word = bytes([word[0] ^ constant]) + word[1:]
                constant = times(constant, 2)
            words.append(bytes(a ^ b for a, b in zip(words[at - 4], word)))
        return [b"".join(words[at:at + 4]) for at in range(0, len(words), 4)]

    def _block(self, block: bytes) -> bytes:
        state = _add(block, self._keys[ROUNDS])
        for turn in range(ROUNDS - 1, -1, -1):
            # row r moves r columns to the right; the state is stored column by column
            state = [state[(at - 4 * (at % 4)) % BLOCK_BYTES] for at in range(BLOCK_BYTES)]
            state = _add([self._back[one] for one in state], self._keys[turn])
            if turn:
                state = self._unmixed(state)
        return bytes(state)

    def _unmixed(self, state: Sequence[int]) -> List[int]:
        mixed = []
        for at in range(BLOCK_BYTES):
            column, row = at - at % 4, at % 4
            value = 0
            for step, factor in enumerate((14, 11, 13, 9)):
                value ^= self._by[factor][state[column + (row + step) % 4]]
            mixed.append(value)
        return mixed


def _add(one: Sequence[int], other: Sequence[int]) -> List[int]:
    return [a ^ b for a, b in zip(one, other)]
