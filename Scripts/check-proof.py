#!/usr/bin/env python3
"""Checks what `strongroom log prove` printed, without Strongroom: Python's own library, and openssl for the signature.

    Scripts/check-proof.py PROOF PUBLIC-KEY        both are files

Prints the record and exits with 0 when the proof holds, exits with 1 otherwise. Formats: C2SP tlog-proof, tlog-checkpoint
and signed-note (ECDSA, type 2), RFC 6962 hashing.
"""
import base64
import hashlib
import subprocess
import sys
import tempfile


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf, index, size, path):
    """The root that the path leads to, from the definition in RFC 6962, 2.1.1; None when its length is wrong."""
    if size == 1:
        return leaf if not path else None
    if not path:
        return None
    k = 1
    while k * 2 < size:
        k *= 2
    last, rest = path[-1], path[:-1]
    inner = root(leaf, index, k, rest) if index < k else root(leaf, index - k, size - k, rest)
    if inner is None:
        return None
    return node(inner, last) if index < k else node(last, inner)


def verified(public_key, text, signature):
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("key", public_key), ("sig", signature), ("text", text)):
            with open(f"{folder}/{name}", "wb") as file:
                file.write(data)
        command = ["openssl", "dgst", "-sha256", "-keyform", "DER", "-verify", f"{folder}/key",
                   "-signature", f"{folder}/sig", f"{folder}/text"]
        return subprocess.run(command, capture_output=True).returncode == 0


def require(condition, why="is no such proof"):
    # No `assert`: python -O leaves those out.
    if not condition:
        raise ValueError(why)


def check(proof, key):
    name, key_hash, encoded = key.strip().split("+", 2)
    kind, public_key = base64.b64decode(encoded)[0], base64.b64decode(encoded)[1:]
    head, note = proof.split("\n\n", 1)
    lines = head.split("\n")
    require(len(lines) > 2 and lines[0] == "c2sp.org/tlog-proof@v1")
    require(lines[1].startswith("extra ") and lines[2].startswith("index "))
    record, index = base64.b64decode(lines[1][6:]), int(lines[2][6:])
    path = [base64.b64decode(line) for line in lines[3:]]
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    dash, signer, value = signatures.strip().split(" ")
    value = base64.b64decode(value)
    require(kind == 2 and dash == "\u2014" and signer == name, "the signature is not the key's")
    require(value[:4].hex() == key_hash == hashlib.sha256(public_key).digest()[:4].hex(), "the signature is not the key's")
    require(verified(public_key, text.encode(), value[4:]), "the signature is not the key's")
    origin, size, expected = text.split("\n")[:3]
    leaf = hashlib.sha256(b"\x00" + record).digest()
    require(0 <= index < int(size), "the checkpoint does not cover the record")
    require(root(leaf, index, int(size), path) == base64.b64decode(expected), "the record is not in the checkpoint's tree")
    return record


if __name__ == "__main__":
    try:
        print(check(open(sys.argv[1]).read(), open(sys.argv[2]).read()).decode())
    except (ValueError, IndexError) as error:
        sys.exit(f"the proof does not hold: {error}")
