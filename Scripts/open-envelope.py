#!/usr/bin/env python3
"""Opens what Strongroom wrote, without Strongroom: the way out that the format promises.

It needs Python 3 and the package `cryptography`, and a key: a recovery key that was kept offline (as gfcombine gives
it back from its shares), a private RSA key, or a KEK's bytes from a key store (`openssl pkcs12 -nodes -in keys.p12`
shows them behind their localKeyID, which is the KID).
The format is in docs/envelope-format.md.

  open-envelope.py backup.sealed -o backup.tar --kek 01930000aaaa7000800000000000a001=kek.hex --context path=backup.tar
  open-envelope.py backup.sealed -o backup.tar --recovery-key recovery.key
  open-envelope.py backup.sealed -o backup.tar --private-key board.pem
  open-envelope.py row.bin --kek KID=FILE --key-blob dek.bin --key-blob-context purpose=field-dek --context row=1001

FILE holds the KEK as 64 hex digits, with or without spaces; KID is the key version's id, with or without dashes.
A recovery key is 32 bytes or 64 hex digits, and is tried on every recipient; a private key with a passphrase asks for it.
Fields, key blobs, fields under a shared DEK and files are told apart by themselves. Standard input and output are '-'.
With -o nothing is left behind unless all of it opened; standard output has got what stands before the damage by then,
so heed the exit code.
A key blob's plaintext is a key (COSE_Key): keep it as one.
Exit codes: 0 opened, 1 does not open or is malformed, 2 usage.
"""

import argparse
import contextlib
import errno
import getpass
import hashlib
import hmac
import os
import sys
import tempfile

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

SEGMENT = 1 << 20


class Refused(Exception):
    pass


def decode(data, at=0, depth=0):
    """One CBOR item of the kinds that the format uses: (value, offset behind it)."""
    if depth > 8 or at >= len(data):
        raise Refused("malformed: cut short or nested too deeply")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        size = info
    elif info < 28:
        width = 1 << (info - 24)
        size = int.from_bytes(data[at : at + width], "big")
        at += width
        if at > len(data):
            raise Refused("malformed: cut short")
        if size < (24 if width == 1 else 1 << 4 * width):
            raise Refused("malformed: a number is not written in its shortest form")
    else:
        raise Refused("malformed: indefinite length")
    if major == 0:
        return size, at
    if major == 1:
        return -1 - size, at
    if major in (2, 3):
        if at + size > len(data):
            raise Refused("malformed: cut short")
        text = bytes(data[at : at + size])
        return (text if major == 2 else text.decode()), at + size
    if major == 4:
        items = []
        for _ in range(size):
            item, at = decode(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        pairs = {}
        for _ in range(size):
            key, at = decode(data, at, depth + 1)
            if key in pairs:
                raise Refused("malformed: a label is there twice")
            pairs[key], at = decode(data, at, depth + 1)
        return pairs, at
    if major == 6:
        item, at = decode(data, at, depth + 1)
        return (size, item), at
    raise Refused("malformed: a kind of CBOR that the format does not use")


def decode_all(data):
    item, at = decode(data)
    if at != len(data):
        raise Refused("malformed: bytes behind the end")
    return item


def head(major, size):
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if size < 24:
            return bytes([major << 5 | size])
        if size < 1 << 8 * width:
            return bytes([major << 5 | info]) + size.to_bytes(width, "big")


def byte_string(value):
    return head(2, len(value)) + value


def text(value):
    return head(3, len(value.encode())) + value.encode()


def context_bytes(pairs):
    if not pairs:
        return b""
    return head(5, len(pairs)) + b"".join(k + v for k, v in sorted((text(k), text(v)) for k, v in pairs))


def structure(name, protected, aad):
    return head(4, 3) + text(name) + byte_string(protected) + byte_string(aad)


def gcm_open(key, iv, ciphertext, aad):
    try:
        return AESGCM(key).decrypt(iv, ciphertext, aad)
    except InvalidTag:
        raise Refused("does not open: key or context differ, or it was changed") from None


class Keys(dict):
    """KEKs by their ids, and keys that are tried on every recipient."""

    recovery, private = (), ()

    def try_offline(self, protected, header, wrapped):
        if protected != b"" or set(header) != {1, 4}:
            return None
        for key in self.recovery if header[1] == -5 else ():
            try:
                return aes_key_unwrap(key, wrapped)
            except InvalidUnwrap:
                pass
        digest = {-41: hashes.SHA256, -40: hashes.SHA1}.get(header[1])
        for key in self.private if digest else ():
            try:
                return key.decrypt(wrapped, padding.OAEP(padding.MGF1(digest()), digest(), None))
            except ValueError:
                pass
        return None


def open_message(parts, keks, aad):
    """A COSE_Encrypt message: (content type, plaintext)."""
    protected, unprotected, ciphertext, recipients = parts
    header = decode_all(protected)
    if header.get(1) != 3 or len(header.get(4, b"")) != 32:
        raise Refused("malformed: the protected header has no A256GCM or no commitment")
    if not set(header) <= {1, 3, 4} or header.get(3, 101) != 101 or set(unprotected) != {5}:
        raise Refused("malformed: a header has labels or values that the format does not use")
    if not 1 <= len(recipients) <= 8:
        raise Refused(f"malformed: there are {len(recipients)} recipients, allowed are 1 to 8")
    for recipient_protected, recipient_header, wrapped in recipients:
        kek = keks.get(recipient_header.get(4))
        if kek is None:
            cek = keks.try_offline(recipient_protected, recipient_header, wrapped)
            if cek is None:
                continue
        try:
            if kek is None:
                pass
            elif recipient_protected == b"" and recipient_header == {1: -5, 4: recipient_header[4]}:
                cek = aes_key_unwrap(kek, wrapped)
            elif recipient_protected == b"\xa1\x01\x03":
                cek = gcm_open(kek, recipient_header[5], wrapped, structure("Enc_Recipient", recipient_protected, aad))
            else:
                continue
        except InvalidUnwrap:
            raise Refused("does not open: the wrapped key was changed, or this is not its KEK") from None
        if not hmac.compare_digest(hashlib.sha256(bytes.fromhex("a20104205820") + cek).digest(), header[4]):
            raise Refused("does not open: the wrapped key is not the one that the envelope commits to")
        return header.get(3), gcm_open(cek, unprotected[5], ciphertext, structure("Encrypt", protected, aad))
    raise Refused("not ours: none of the recipients' keys was given; it needs " + ", ".join(r[1][4].hex() for r in recipients))


def content_key(plaintext, use):
    key = decode_all(plaintext)
    if key.get(1) != 4 or key.get(3) != use:
        raise Refused("malformed: the key blob holds a key for another use")
    return key[-1]


def segments(source, first):
    """Ciphertext segments with (number, is it the last)."""
    number, segment = 0, source.read(first)
    while True:
        following = source.read(SEGMENT) if segment else b""
        yield number, not following, segment
        if not following:
            return
        number, segment = number + 1, following


def open_file(start, source, keks, pairs, target):
    header = bytearray(start)
    while True:
        try:
            (_, (_, parts)), at = decode(header)
            zeros, at = decode(header, at)
            break
        except Refused:
            more = source.read(1)
            if not more or len(header) > 65536:
                raise
            header += more
    if any(zeros):
        raise Refused("malformed: the header's room is not zero")
    kind, plaintext = open_message(parts, keks, context_bytes(pairs))
    if kind != 101:
        raise Refused("malformed: the header holds no key blob")
    body = bytes(header[at:]) + source.read(40 - (len(header) - at))
    if len(body) != 40 or body[0] != 0x28:
        raise Refused("malformed: the body does not begin as it must")
    aad = head(4, 2) + text("strongroom-file-v1") + (context_bytes(pairs) or b"\xa0")
    key = HKDF(hashes.SHA256(), 32, body[1:33], aad).derive(content_key(plaintext, -70001))
    for number, is_last, segment in segments(source, SEGMENT - 40):
        nonce = body[33:] + number.to_bytes(4, "big") + bytes([is_last])
        target.write(gcm_open(key, nonce, segment, b""))


def open_any(source, keks, pairs, blob, blob_pairs, target):
    start = source.read(5)
    if start.startswith(b"\xd9\xd9\xf7"):
        return open_file(start, source, keks, pairs, target)
    tag, parts = decode_all(start + source.read(1 << 22))
    aad = context_bytes(pairs)
    if tag == 96:
        target.write(open_message(parts, keks, aad)[1])
    elif tag == 16:
        protected, unprotected, ciphertext = parts
        if protected != b"\xa1\x01\x03" or set(unprotected) != {4, 5}:
            raise Refused("malformed: a header has labels or values that the format does not use")
        if blob is None:
            key = keks.get(unprotected[4])
        else:
            kind, plaintext = open_message(decode_all(blob)[1], keks, context_bytes(blob_pairs))
            if kind != 101:
                raise Refused("malformed: --key-blob names no key blob")
            key = content_key(plaintext, 3)
        if key is None:
            raise Refused(f"not ours: it needs the key {unprotected[4].hex()}; give --key-blob, or its KEK")
        target.write(gcm_open(key, unprotected[5], ciphertext, structure("Encrypt0", protected, aad)))
    else:
        raise Refused("malformed: no envelope")


def pair(argument):
    name, equals, value = argument.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{argument}' is not NAME=VALUE")
    return name, value


def read_kek(path):
    with open(path) as file:
        kek = bytes.fromhex(file.read().strip())
    if len(kek) != 32:
        raise ValueError(f"{path} holds no 64 hex digits")
    return kek


def read_recovery_key(path):
    with open(path, "rb") as file:
        content = file.read(256)
    key = content if len(content) == 32 else bytes.fromhex(content.decode("ascii").strip())
    if len(key) != 32:
        raise ValueError(f"{path} holds neither 32 bytes nor 64 hex digits")
    return key


def read_private_key(path):
    with open(path, "rb") as file:
        pem = file.read()
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError:
        key = serialization.load_pem_private_key(pem, getpass.getpass(f"Passphrase of {path}: ").encode())
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{path} holds no RSA key")
    return key


def put_in_place(temporary, output):
    """Fails where something is there already."""
    try:
        os.link(temporary, output)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        # FAT has no links: the name is taken first, by an empty file.
        os.close(os.open(output, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.replace(temporary, output)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("--kek", type=pair, action="append", default=[], metavar="KID=FILE")
    parser.add_argument("--recovery-key", action="append", default=[], metavar="FILE")
    parser.add_argument("--private-key", action="append", default=[], metavar="PEM")
    parser.add_argument("--context", type=pair, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--key-blob", metavar="FILE")
    parser.add_argument("--key-blob-context", type=pair, action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    if not (arguments.kek or arguments.recovery_key or arguments.private_key):
        parser.error("a key is needed: --recovery-key, --private-key or --kek")
    try:
        keks = Keys({bytes.fromhex(k.replace("-", "")): read_kek(f) for k, f in arguments.kek})
        keks.recovery = [read_recovery_key(path) for path in arguments.recovery_key]
        keks.private = [read_private_key(path) for path in arguments.private_key]
        blob = open(arguments.key_blob, "rb").read() if arguments.key_blob else None
    except (OSError, ValueError) as error:
        parser.error(f"a key or key blob cannot be read: {error}")
    try:
        source = sys.stdin.buffer if arguments.input == "-" else open(arguments.input, "rb")
        rest = (source, keks, arguments.context, blob, arguments.key_blob_context)
        if arguments.output == "-":
            open_any(*rest, sys.stdout.buffer)
            return
        folder = os.path.dirname(os.path.abspath(arguments.output))
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as target:
            try:
                open_any(*rest, target)
                target.flush()
                os.fsync(target.fileno())
                put_in_place(target.name, arguments.output)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(target.name)
    except (Refused, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        known = isinstance(error, (Refused, OSError))
        sys.exit(f"open-envelope: {error}" if known else "open-envelope: malformed: not of this format")


if __name__ == "__main__":
    main()
